"""The pytest plugin, in real runs of pytest."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.test_fences import fences as fences_of

pytest_plugins = ["pytester"]

Run = Callable[..., pytest.RunResult]
ROOT = Path(__file__).parents[2]
WORKFLOWS = """
import asyncio
import pytest
import statemachine_flow as smf

def order():
    workflow = smf.Workflow("order")
    workflow.call("fetch", "net:fetch", retry={"max_attempts": 3, "delay": "2h", "max_delay": "9h", "jitter": "none"})
    workflow.approval("gate", "Go?", needs="fetch", choices=["yes", "no"])
    workflow.call("pay", lambda: 7, needs="gate", when="steps.gate.output.decision == 'yes'")
    return workflow
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest with the plugin, and nothing that is installed beside it."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(body: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(WORKFLOWS + body)
        plugin = "statemachine_flow.testing.plugin"
        return pytester.runpytest_subprocess("-p", plugin, "-W", "error", "-p", "no:cacheprovider", *arguments)

    return run


def test_an_engine_works_in_its_calls_and_time_takes_no_time(run: Run) -> None:
    result = run("""
def test_engine(smf_engine, smf_clock, smf_script):
    smf_script["fetch"] = [{"fail": "ConnectionError"}, smf.testing.Fail("OSError"), smf.testing.Return({"x": 1})]
    run = smf_engine.run(order())
    assert run.steps["fetch"].attempt == 3
    assert smf_clock.monotonic() == 6 * 3600
    smf_engine.approve(run.id, "gate", choice="yes")
    assert smf_engine.wait(run.id).steps["pay"].output == 7

@pytest.mark.parametrize("death", [{"at": 0}, {"at": -1}, {"at": 1, "when": "during"}])
def test_a_death_that_cannot_be_is_an_error(smf_crash, death):
    with pytest.raises(smf.errors.UsageError, match="cannot die"):
        smf_crash(smf.Workflow("empty"), **death)

def test_an_engine_in_a_loop_says_what_to_do(smf_engine):
    async def main():
        smf_engine.list()
    with pytest.raises(smf.errors.UsageError, match="call it from a plain function"):
        asyncio.run(main())

def test_between_calls_nothing_happens(smf_engine, smf_clock):
    workflow = smf.Workflow("night")
    workflow.wait("night", for_="12h")
    run_id = smf_engine.start(workflow)
    assert smf_engine.get(run_id).state == "running"
    assert smf_clock.monotonic() < 1
    assert smf_engine.wait(run_id).state == "completed"
    assert smf_clock.monotonic() >= 12 * 3600
    assert isinstance(smf_engine, smf.Engine)

def test_a_bad_script_is_told(smf_engine, smf_script):
    smf_script["ftch"] = {"return": 1}
    with pytest.raises(smf.errors.DefinitionError, match="no step 'ftch'"):
        smf_engine.run(order())

def test_a_stuck_run_is_told_and_leaves_nothing(smf_engine):
    import asyncio
    workflow = smf.Workflow("stuck")
    workflow.call("endless", asyncio.Event().wait)
    with pytest.raises(smf.testing.Stuck):
        smf_engine.run(workflow)
""")

    result.assert_outcomes(passed=8)


def test_a_process_dies_at_a_write_and_another_goes_on(run: Run) -> None:
    result = run("""
@pytest.fixture
def smf_script():
    return {"fetch": {"return": {"x": 1}}, "gate": {"decide": "no", "takes": "1d"}}

@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_crash(smf_crash, at, when):
    run = smf_crash(order(), at=at, when=when)
    assert (run.state, run.steps["pay"].state) == ("completed", "skipped")

def test_attempts(smf_crash):
    assert smf_crash(order(), at=2, when="before").steps["fetch"].attempt == 2
    assert smf_crash(order(), at=2, when="after").steps["fetch"].attempt == 1

def test_too_late(smf_crash):
    with pytest.raises(smf.errors.UsageError, match="ended before write 99"):
        smf_crash(order(), at=99)
""")

    result.assert_outcomes(passed=8)


def test_a_body_that_never_ends_is_the_only_error_of_its_test(run: Run) -> None:
    """Neither is the run's owner told of at the end, nor the death that went before."""
    result = run("""
def test_crash(smf_crash):
    workflow = smf.Workflow("stuck")
    workflow.call("a", lambda: 1)
    workflow.call("endless", asyncio.Event().wait, needs="a")
    smf_crash(workflow, at=1)

def test_engine(smf_engine):
    workflow = smf.Workflow("stuck")
    workflow.call("endless", asyncio.Event().wait)
    smf_engine.run(workflow)
""")

    result.assert_outcomes(failed=2)
    text = result.stdout.str()
    assert text.count("nothing will bring") >= 2
    for noise in ("is owned by", "Event loop stopped", "Killed", "During handling", "direct cause"):
        assert noise not in text


def test_a_store_and_options_of_the_tests_own_are_used(run: Run) -> None:
    result = run("""
@pytest.fixture
def smf_store(tmp_path):
    from statemachine_flow.stores.sqlite import SqliteStore
    store = SqliteStore(tmp_path / "runs.db")
    yield store
    store.close()

@pytest.fixture
def smf_options():
    return {"functions": {"double": lambda x: 2 * x}}

def test_engine(smf_engine, tmp_path):
    workflow = smf.Workflow("own")
    workflow.call("a", "double", with_={"x": 4})
    assert smf_engine.run(workflow).steps["a"].output == 8
    assert (tmp_path / "runs.db").exists()
""")

    result.assert_outcomes(passed=1)


def test_a_run_that_is_not_what_its_journal_says_fails_the_test(run: Run) -> None:
    result = run("""
def test_engine(smf_engine, smf_store, smf_script):
    smf_script["fetch"] = {"return": 1}
    run = smf_engine.run(order())
    smf_store._rows[run.id].state = "completed"
""")

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*AssertionError: run * is completed at *, its journal running at *"])


COVERED = """
def test_yes(smf_engine, smf_script, smf_coverage):
    smf_script["fetch"] = {"return": 1}
    run = smf_engine.run(order())
    assert "gate is decided: yes" in smf_coverage.never(order())
    smf_engine.approve(run.id, "gate", choice="yes")
    smf_engine.wait(run.id)
    assert "gate is decided: yes" not in smf_coverage.never(order())

def test_retry(smf_engine, smf_script):
    smf_script["fetch"] = [{"fail": "ConnectionError"}, {"return": 1}]
    smf_engine.run(order())
"""


@pytest.mark.parametrize("arguments", [(), ("-p", "xdist", "-n", "2")], ids=["one process", "two processes"])
def test_what_was_never_exercised_is_told_at_the_end(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(COVERED, "--smf-coverage", *arguments)

    result.assert_outcomes(passed=2)
    text = result.stdout.str().partition("workflow coverage")[2]
    told = [line.strip().removeprefix("never: ") for line in text.splitlines() if "never: " in line]
    assert told == [
        "the run fails",
        "fetch fails",
        "gate is decided: no",
        "pay fails",
        "pay is skipped",
    ]
    assert "order: 6 of 11 exercised" in text


def test_without_the_option_nothing_is_told(run: Run) -> None:
    result = run(COVERED)

    assert "workflow coverage" not in result.stdout.str()


def test_the_tests_that_the_readme_shows_pass(pytester: pytest.Pytester, run: Run) -> None:
    fences = [fence.text for fence in fences_of("README.md", (ROOT / "README.md").read_text(encoding="utf-8"))]
    (shown,) = [text for text in fences if "def test_" in text]
    pytester.makepyfile(test_readme=shown)
    result = run("", "test_readme.py")

    result.assert_outcomes(passed=2)


def test_the_plugin_costs_a_run_that_does_not_use_it_next_to_nothing() -> None:
    heavy = {"asyncio", "attrs", "msgspec", "apsw", "statemachine_flow.engine", "statemachine_flow.testing.coverage"}
    program = (
        "import sys, pytest; before = set(sys.modules); import statemachine_flow.testing.plugin; "
        f"print(sorted({heavy!r} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "[]"


def test_pytest_finds_the_plugin_where_the_package_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["entry-points"] == {"pytest11": {"statemachine_flow": "statemachine_flow.testing.plugin"}}
