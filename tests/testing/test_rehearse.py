"""Workflows with a fault, and those without: what a rehearsal finds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import statemachine_flow as smf
from statemachine_flow.errors import DefinitionError, UsageError
from statemachine_flow.testing import Decide, Fail, Report, Return, Signal, rehearse


def chain(*functions: Callable[..., Any], **options: Any) -> smf.Workflow:
    workflow = smf.Workflow("chain")
    for number, function in enumerate(functions):
        workflow.call(f"s{number}", function, needs=f"s{number - 1}" if number else None, **options)
    return workflow


def found(report: Report) -> set[tuple[str, str]]:
    return {(one.step, one.aspect) for one in report.differences}


# --- seeded faults


def test_a_result_that_differs_by_itself_is_found_once() -> None:
    rng = random.Random(1)
    report = rehearse(chain(lambda: 1, rng.random, lambda: 2))

    assert not report.ok
    assert [(one.point.number, one.step, one.aspect) for one in report.differences] == [(0, "s1", "output")]


def test_a_step_whose_effect_shows_when_it_happens_twice_is_found_where_it_does() -> None:
    """The account is put back before each run, so only a death makes the difference."""
    account: list[int] = []

    def charge() -> int:
        account.append(3)
        return sum(account)

    report = rehearse(chain(lambda: 1, charge, lambda: 2), reset=account.clear, rows=0)

    assert found(report) == {("s1", "output")}
    (difference,) = report.differences
    assert (difference.expected, difference.found) == (3, 6)
    assert str(difference.point) == "before write 3 (step.complete s1, step.start s2)"


def test_a_step_that_reads_what_an_earlier_step_left_in_memory_is_found() -> None:
    """A new process knows nothing of what the dead one had in its variables."""
    memory: dict[str, int] = {}
    report = rehearse(chain(lambda: memory.update(x=1), lambda: memory.get("x", 0)), forget=memory.clear, rows=0)

    assert found(report) == {("s1", "output")}
    assert [one.point.deaths for one in report.differences] == [((2, "after"),), ((3, "before"),)]


def test_steps_that_may_happen_twice_are_told_unless_something_says_that_this_does_no_harm(tmp_path: Path) -> None:
    workflow = smf.Workflow("effects")
    workflow.call("bare", "shop:bare")
    workflow.call("keyed", "shop:keyed", needs="bare", idempotency_key="${{ run.id }}")
    workflow.call("once", "shop:once", needs="keyed", delivery="at_most_once")
    workflow.call("inside", "shop:inside", needs="once", transaction=True)
    workflow.call("harmless", "shop:harmless", needs="inside")
    names = ("bare", "keyed", "once", "inside", "harmless")
    script = smf.testing.Script({name: (Return(name),) for name in names}, safe=("harmless",))

    report = rehearse(workflow, script=script)

    assert report.ok
    assert [one.step for one in report.undeclared] == ["bare"]
    declared = {one.step: one.declared for one in report.repeats}
    assert declared == {"bare": "", "keyed": "idempotency_key", "inside": "transaction", "harmless": "safe"}
    assert report.asked == ("once",)


# --- whole workflows


def every_construct() -> smf.Workflow:
    """Twenty steps: retries, loops, groups, child runs, waits, decisions, handlers, agents, commands."""
    child = smf.Workflow("child")
    child.call("send", "kit:send", retry={"max_attempts": 2, "delay": "1h", "max_delay": "2h", "jitter": "none"})
    child.approval("sign", "Sign?")
    workflow = smf.Workflow("all", compensate=True)
    workflow.agent("plan", "planner", "Plan it.", output_schema={"type": "object"})
    workflow.call("flaky", "kit:flaky", needs="plan", retry={"max_attempts": 3, "delay": "5m", "jitter": "none"})
    workflow.run("each", ["true"], needs="flaky", for_each=smf.ForEach(items=("a", "b")))
    workflow.wait("night", for_="12h", needs="each")
    workflow.wait("ci", event="ci.done", timeout="2d", needs="each")
    workflow.wait("late", event="never", timeout="3d", then="complete", needs="each")
    workflow.approval("gate", "Go?", needs=["night", "ci"])
    workflow.child("deliver", child, needs="gate")
    workflow.call("pay", "kit:pay", delivery="at_most_once", needs="deliver", compensate={"run": ["true"]})
    for number in range(8):
        workflow.run(f"c{number}", ["true"], needs="pay" if number == 0 else f"c{number - 1}")
    workflow.call("last", "kit:last", needs=["c7", "late"])
    workflow.on_failure.run("tell", ["true"])
    workflow.finally_.run("clean", ["true"])
    workflow.output("plan", "${{ steps.plan.output }}")
    return workflow


SCRIPT: dict[str, Any] = {
    "plan": Return('```json\n{"steps": 3}\n```', cost_usd=0.5, tokens=10),
    "flaky": [Fail("ConnectionError"), Return(1)],
    "each": {"exit": 0},
    "each[b]": {"stdout": "b"},
    "ci": Signal({"ok": True}, takes=60),
    "gate": Decide(takes=3600),
    "deliver/send": [Fail("OSError"), Return("sent")],
    "deliver/sign": Decide(by="ann"),
    "pay": Return({"id": 7}),
    **{f"c{number}": {"exit": 0} for number in range(8)},
    "last": Fail("ValueError", "no"),
    "@on_failure/tell": {"exit": 0},
    "@finally/clean": {"exit": 0},
    "@compensate/pay": {"exit": 0},
}


@pytest.mark.parametrize("last", [Return("done"), Fail("ValueError", "no")], ids=["completes", "fails"])
def test_a_workflow_of_everything_ends_alike_wherever_its_process_dies(last: Any) -> None:
    report = rehearse(every_construct(), script={**SCRIPT, "last": last})

    assert report.differences == ()
    assert report.state == ("completed" if isinstance(last, Return) else "failed")
    assert report.writes > 20
    assert report.points == 2 * report.writes + 10
    assert "pay" in report.asked
    assert "deliver/send" in {one.step for one in report.undeclared}


def test_real_bodies_are_carried_out_beside_scripted_ones() -> None:
    workflow = smf.Workflow("mixed")
    workflow.run("echo", ["echo", "hello"], outputs={"text": "strip(stdout)"})
    workflow.call("upper", lambda text: text.upper(), with_={"text": "${{ steps.echo.outputs.text }}"})

    async def nap(text: str) -> str:
        await asyncio.sleep(3600)
        return text + "!"

    workflow.call("nap", nap, with_={"text": "${{ steps.upper.output }}"})
    workflow.call("far", "nowhere:far", with_={"text": "${{ steps.nap.output }}"})
    workflow.output("all", ["${{ steps.nap.output }}", "${{ steps.far.output }}"])

    assert rehearse(workflow, script={"far": {"return": "away"}}).ok


def test_a_step_that_is_scripted_in_one_place_and_not_in_another_needs_its_function() -> None:
    workflow = smf.Workflow("two")
    workflow.call("a", "nowhere:f")
    workflow.call("b", "nowhere:f")

    with pytest.raises(DefinitionError) as caught:
        rehearse(workflow, script={"a": {"return": 1}})

    assert caught.value.kind == "definition.callable"


def test_an_attempt_that_was_cut_off_is_followed_by_one_that_goes_like_it() -> None:
    """The list of outcomes is about what the world does, and the dead process took no part of it."""
    workflow = smf.Workflow("lists")
    workflow.call("a", "kit:a")

    assert rehearse(workflow, script={"a": [Return(1), Return(2), Return(3)]}).differences == ()


@pytest.mark.parametrize("said", ["completed", "retry"])
def test_verify_is_answered_by_the_script(said: Any) -> None:
    workflow = smf.Workflow("verified")
    workflow.call("pay", "shop:pay", delivery="at_most_once", verify="shop:was_paid")

    report = rehearse(workflow, script={"pay": Return(7, found=said)}, rows=0)

    assert (report.asked, report.differences) == ((), ())


def test_a_wrong_finding_is_a_difference() -> None:
    workflow = smf.Workflow("wrong")
    workflow.call("pay", "shop:pay", delivery="at_most_once")

    report = rehearse(workflow, script={"pay": Return(7, found="failed")}, rows=0)

    assert ("", "state") in found(report)


def test_people_act_when_their_time_has_come_not_one_after_the_other() -> None:
    """A slow decision holds up neither a signal beside it nor the end of a wait; one that is too late is none."""
    workflow = smf.Workflow("people")
    workflow.approval("slow", "Go?")
    workflow.wait("ci", event="ci.done", timeout="2h")
    workflow.approval("behind", "And?", needs="ci", deadline={"after": "30m", "then": "fail"})
    workflow.approval("late", "Well?", deadline={"after": "1h", "then": "approve"})
    script = {
        "slow": Decide(takes=3 * 3600),
        "ci": Signal(takes=3600),
        "behind": Decide(takes=600),
        "late": Decide("reject", takes=7200),
    }

    report = rehearse(workflow, script=script)

    assert (report.state, report.differences) == ("completed", ())


# --- points and seeds


def test_a_point_is_tried_again_alone() -> None:
    account: list[int] = []

    def charge() -> int:
        account.append(1)
        return len(account)

    workflow = chain(charge, lambda: 2)
    whole = rehearse(workflow, reset=account.clear, seed=5, rows=30)
    numbers = sorted({one.point.number for one in whole.differences})

    assert len(numbers) > 1
    for number in numbers:
        alone = rehearse(workflow, reset=account.clear, seed=5, rows=30, point=number)
        assert alone.differences == tuple(one for one in whole.differences if one.point.number == number)
        assert whole.command(alone.differences[0].point) == f"rehearse(..., seed=5, point={number})"


def test_rows_of_deaths_come_from_the_seed() -> None:
    account: list[int] = []

    def charge() -> int:
        account.append(1)
        return len(account)

    def rows(seed: int) -> list[Any]:
        report = rehearse(chain(charge, charge), reset=account.clear, seed=seed, rows=20)
        return [one.point.deaths for one in report.differences if len(one.point.deaths) > 1]

    assert rows(1) == rows(1) != rows(2)


def test_a_run_that_waits_for_somebody_the_script_does_not_know_is_told_before_anything_dies() -> None:
    workflow = smf.Workflow("asks")
    workflow.approval("gate", "Go?")

    with pytest.raises(DefinitionError) as caught:
        rehearse(workflow)

    (problem,) = caught.value.problems
    assert (problem.kind, problem.path) == ("definition.missing_field", "steps.gate")
    assert problem.hint == "add to the script: 'gate' = { decide = ... }"


def test_a_body_that_never_ends_is_told() -> None:
    with pytest.raises(smf.testing.Stuck):
        rehearse(chain(asyncio.Event().wait))


# --- what the report says


def test_the_headline_says_how_the_undisturbed_run_ended() -> None:
    def fail() -> None:
        raise ValueError("no such account")

    report = rehearse(chain(lambda: 1, fail), rows=0)

    assert (report.state, report.error) == ("failed", "s1: ValueError: no such account")
    headline = "every one ends like the undisturbed run, which failed: s1: ValueError: no such account"
    assert str(report).splitlines()[0].endswith(headline)
    assert report.data()["error"] == report.error


def test_the_headline_of_an_unsteady_workflow_says_what_was_not_compared() -> None:
    rng = random.Random(1)
    report = rehearse(chain(rng.random, lambda: 2), rows=0)

    first, second, third, *_ = str(report).splitlines()
    assert first.endswith("; even undisturbed it does not end twice alike")
    assert second == "not compared, for it differs by itself: s0: output"
    assert third == "all else was compared: every one ends like the undisturbed run"


def test_a_report_from_python_names_the_call_though_the_workflow_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text('dsl = "1"\nname = "two"\nsteps.a = { call = "kit:a", delivery = "at_most_once" }\n')
    report = rehearse(path, script={"a": Return(1, found="failed")}, seed=3, rows=0)

    assert f"again: rehearse(..., seed=3, point={report.differences[0].point.number})" in str(report)


def test_who_wants_to_know_is_told_how_far_it_is() -> None:
    told: list[tuple[int, int]] = []
    report = rehearse(chain(lambda: 1), rows=1, on_point=lambda done, of: told.append((done, of)))

    assert told == [(done, report.points) for done in range(report.points + 1)]


# --- what makes no sense


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"script": [1]}, "of the type list is no script"),
        ({"store": "mysql"}, "no store 'mysql'"),
        ({"rows": -1}, "-1 rows"),
        ({"rows": "x"}, "'x' rows"),
        ({"point": "1"}, "no point '1'"),
        ({"point": 17, "rows": 10}, "no point 17"),
        ({"point": 7, "rows": 0}, "no point 7"),
        ({"point": -1}, "no point -1"),
        ({"clock": 1}, "a clock of its own"),
        ({"stand_in": None}, "a player of bodies of its own"),
        ({"function": {}}, "did you mean 'functions'"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rehearse(chain(lambda: 1, lambda: 2), **options)


def test_points_end_where_the_rows_do() -> None:
    """Three writes: six points, and the rows behind them."""
    workflow = chain(lambda: 1, lambda: 2)

    assert rehearse(workflow, point=16, rows=10).points == 1
    assert rehearse(workflow, point=17, rows=11).points == 1


def test_a_rehearsal_on_an_event_loop_says_what_to_do() -> None:
    async def main() -> None:
        rehearse(chain(lambda: 1))

    with pytest.raises(UsageError, match="call it from a plain function"):
        asyncio.run(main())


def test_a_step_that_nobody_answers_names_the_script_that_is_silent(tmp_path: Path) -> None:
    path = tmp_path / "silent.toml"
    path.write_text("[steps]\n")
    workflow = smf.Workflow("people")
    workflow.approval("gate", "Go?")

    with pytest.raises(DefinitionError, match=r"of whom the script .*silent\.toml says nothing"):
        rehearse(workflow, script=path)


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_both_stores_find_the_same(store: Any) -> None:
    report = rehearse(every_construct(), script=SCRIPT, store=store, rows=2)

    assert (report.differences, report.state) == ((), "failed")
    assert len(report.undeclared) > 10


def test_files_of_rehearsals_do_not_stay_even_of_those_that_were_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / "smf-rehearsal-999999999-abc"
    left.mkdir()
    (left / "0.db").write_bytes(b"")
    other = tmp_path / "other"
    other.mkdir()

    rehearse(chain(lambda: 1), store="sqlite", rows=0)

    assert list(tmp_path.iterdir()) == [other]
