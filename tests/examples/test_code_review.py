"""The example workflow as a whole: on a repository with every kind of trouble, killed, and in all three forms."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import statemachine_flow as smf

if TYPE_CHECKING:
    from tests.examples.conftest import Repo

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TOML = EXAMPLES / "code_review.toml"
#: Put together here, or a review of this very file would find it.
SECRET = "AKIA" + "Q7XW2ZB4NM8KT3RJ"
REQUIRED = {"range", "changes", "lint", "byte-compile", "complexity", "size", "secrets"}

posix = pytest.mark.skipif(os.name == "nt", reason="the stand-ins for commands are shell scripts")


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with git and whatever the test puts there: no ruff, unless it says so."""
    folder = tmp_path / "bin"
    script(folder / "git", f'exec "{shutil.which("git")}" "$@"\n')
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    if shutil.which("ruff") is not None:
        pytest.skip("ruff is installed where every command is")
    return folder


@pytest.fixture
def troubled(repo: Repo) -> Repo:
    """Two commits; the second one has one trouble of each kind."""
    repo.commit({"gone.py": "1\n", "old.py": "import os\n"})
    (repo.path / "gone.py").unlink()
    branches = "".join(f"    if x == {number}:\n        return {number}\n" for number in range(40))
    repo.commit(
        {
            "broken one.py": "x = 1\ndef f(:\n",
            "settings.txt": f"region = eu\nkey = {SECRET}\n",
            "largé.py": f"def large(x):\n{branches}",
            "-slip.py": "import os\n\n\ndef f(a=[]):\n    try:\n        pass\n    except:\n        pass\n",
            "image.png": b"\x89PNG\0",
            "fine.md": "# Fine\n",
        },
        "Trouble",
    )
    return repo


def review(repo: Repo, tmp_path: Path, workflow: Any = TOML, **inputs: Any) -> smf.Run:
    given = {"repo": str(repo.path), "report": str(tmp_path / "review.md"), **inputs}
    with smf.Engine(tmp_path / "runs.db") as engine:
        return engine.run(workflow, given)


def states(run: smf.Run, *steps: str) -> list[str]:
    return [str(run.steps[step].state) for step in steps]


# --- what it finds


@posix
def test_every_kind_of_trouble_is_found(troubled: Repo, bare_path: Path, tmp_path: Path) -> None:
    run = review(troubled, tmp_path)
    page = (tmp_path / "review.md").read_text(encoding="utf-8")
    head, parent = (troubled.git("rev-parse", name)[:12] for name in ("HEAD", "HEAD~1"))

    assert run.ok, run.error
    assert run.outputs["markdown"] == page
    assert run.outputs["report"] == str(tmp_path / "review.md")
    assert run.outputs["severities"] == {"high": 2, "medium": 3, "low": 2}
    assert page.splitlines()[:13] == [
        "# Code review: the last commit of HEAD",
        "",
        "**7 findings** (2 high, 3 medium, 2 low) in 5 files.",
        "",
        f"Contents are those of commit `{head}`. Reviewed is what it changed in its parent {parent}.",
        "",
        "| check | files | findings | worst |",
        "|---|--:|--:|---|",
        "| secrets | 5 | 1 | high |",
        "| byte-compile | 3 | 1 | high |",
        "| lint | 5 | 3 | medium |",
        "| complexity | 3 | 1 | medium |",
        "| size | 3 | 1 | low |",
    ]
    for line in (
        "### `-slip.py`",
        "- line 7: **medium** bare-except: a bare except swallows exits and interrupts too",
        "- line 1: **low** unused-import: 'os' is imported and not used",
        "### `broken one.py`",
        "- line 1: **medium** complexity: 'large' has 41 ways through it, more than 10",
        "### `largé.py`",
        "- line 2: **high** secret: this looks like an AWS access key",
        "- `gone.py`: deleted",
        "- `image.png`: binary",
        f"- `{troubled.git('rev-parse', '--short', 'HEAD')} Trouble`",
    ):
        assert line in page.splitlines()


def test_a_secret_is_neither_in_the_report_nor_in_the_journal(troubled: Repo, tmp_path: Path) -> None:
    run = review(troubled, tmp_path)
    written = [path for path in tmp_path.iterdir() if path.is_file()]

    assert run.steps["secrets"].output["findings"]
    assert {"review.md", "runs.db"} <= {path.name for path in written}
    assert [path.name for path in written if SECRET[4:12].encode() in path.read_bytes()] == []


def test_an_empty_range_gives_a_page_that_says_so(troubled: Repo, tmp_path: Path) -> None:
    run = review(troubled, tmp_path, base="HEAD")

    assert run.ok, run.error
    assert "Nothing changed." in run.outputs["markdown"]


def test_a_range_without_python_is_checked_all_the_same(repo: Repo, tmp_path: Path) -> None:
    repo.commit({"notes.md": f"<<<<<<< HEAD\n{SECRET}\n"})
    run = review(repo, tmp_path)

    assert run.outputs["severities"] == {"high": 2, "medium": 0, "low": 0}


# --- what goes wrong


@posix
def test_a_machine_without_ruff_gets_its_review_and_is_told(troubled: Repo, bare_path: Path, tmp_path: Path) -> None:
    run = review(troubled, tmp_path)

    assert states(run, "ruff", "report", "gate") == ["failed", "completed", "skipped"]
    assert "| ruff | - | - | did not run: ruff is not installed, or not on the PATH |" in run.outputs["markdown"]


@posix
def test_what_ruff_finds_is_reported_but_for_syntax_errors(troubled: Repo, bare_path: Path, tmp_path: Path) -> None:
    script(
        bare_path / "ruff",
        """cat > /dev/null
echo '[{"code": "X100", "message": "`a` is so", "location": {"row": 4}},'
echo ' {"code": "invalid-syntax", "message": "m", "location": {"row": 1}},'
echo ' {"code": null, "message": "m", "location": {"row": 1}}]'
""",
    )
    run = review(troubled, tmp_path)

    assert "- line 4: **low** ruff: X100: \\`a\\` is so" in run.outputs["markdown"].splitlines()
    assert len(run.steps["ruff"].output["findings"]) == 3  # one for each Python file


@posix
def test_a_ruff_that_refuses_its_configuration_is_no_reason_to_fail(
    troubled: Repo, bare_path: Path, tmp_path: Path
) -> None:
    script(bare_path / "ruff", "cat > /dev/null\necho 'error: cannot parse pyproject.toml' >&2\nexit 2\n")
    run = review(troubled, tmp_path)

    assert run.ok, run.error
    assert "did not run: error: cannot parse pyproject.toml |" in run.outputs["markdown"]


@posix
def test_a_git_that_is_busy_for_a_moment_is_asked_again(troubled: Repo, bare_path: Path, tmp_path: Path) -> None:
    once = tmp_path / "failed once"
    script(
        bare_path / "git",
        f"""if [ ! -e "{once}" ]; then
  : > "{once}"
  echo "fatal: Unable to create '.git/index.lock': File exists." >&2
  exit 128
fi
exec "{shutil.which("git", path=os.defpath)}" "$@"
""",
    )
    run = review(troubled, tmp_path)

    assert run.ok, run.error
    assert run.steps["range"].attempt == 2


@pytest.mark.parametrize("inputs", [{"base": "no-such"}, {"head": "no-such"}])
def test_a_name_that_is_no_commit_fails_the_run_at_once(inputs: dict[str, str], troubled: Repo, tmp_path: Path) -> None:
    run = review(troubled, tmp_path, **inputs)

    assert run.error is not None
    assert run.error.message.startswith("step 'range' failed: 'no-such' names no commit in ")
    assert run.steps["range"].attempt == 1
    assert not (tmp_path / "review.md").exists()


@pytest.mark.parametrize(
    ("fail_on", "state", "gate"),
    [("never", "completed", "skipped"), ("low", "failed", "failed"), ("high", "failed", "failed")],
)
def test_the_gate_fails_the_run_when_asked_to_and_the_page_is_there(
    fail_on: str, state: str, gate: str, troubled: Repo, tmp_path: Path
) -> None:
    run = review(troubled, tmp_path, fail_on=fail_on)

    assert (run.state, *states(run, "report", "gate")) == (state, "completed", gate)
    assert (tmp_path / "review.md").exists()


def test_a_gate_with_nothing_to_refuse_lets_the_run_complete(repo: Repo, tmp_path: Path) -> None:
    repo.commit({"fine.md": "# Fine\n"})
    run = review(repo, tmp_path, fail_on="low")

    assert (run.state, *states(run, "gate")) == ("completed", "completed")


# --- in all its forms


def test_toml_yaml_and_python_are_one_workflow() -> None:
    import code_review  # noqa: PLC0415 - it lies in the examples

    hashes = {
        "toml": smf.load(TOML).content_hash,
        "yaml": smf.load(EXAMPLES / "code_review.yaml").content_hash,
        "python": code_review.build().content_hash,
    }

    assert len(set(hashes.values())) == 1, hashes


def test_the_workflow_in_python_gives_the_same_page(troubled: Repo, tmp_path: Path) -> None:
    import code_review  # noqa: PLC0415 - it lies in the examples

    pages = [review(troubled, tmp_path, workflow).outputs["markdown"] for workflow in (TOML, code_review.build())]

    assert pages[0] == pages[1]


def test_the_script_reviews_the_repository_it_is_given(troubled: Repo, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "code_review.py")]
    done = [
        subprocess.run([*command, where], cwd=tmp_path, capture_output=True, text=True, check=False)
        for where in (str(troubled.path), str(tmp_path / "nowhere"))
    ]

    assert [one.returncode for one in done] == [0, 1], done
    assert done[0].stdout.endswith(f"findings, see {tmp_path / '.smf' / 'code-review.md'}\n")
    assert done[1].stderr.startswith("the review failed: step 'range' failed: ")


# --- killed in the middle


def smf_until(is_time: Callable[[], bool], arguments: Sequence[str], cwd: Path) -> int | None:
    """Run `smf` and kill it when it is time; its exit status, or None if it was killed."""
    command = [sys.executable, "-m", "statemachine_flow", *arguments]
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as child:
        for _ in child.stderr or ():  # a line comes after its record is safe
            if is_time():
                child.kill()
                break
    return None if child.returncode == -9 else child.returncode


def happened(events: Sequence[smf.Event], kind: str) -> set[str | None]:
    return {event.step for event in events if event.kind == kind}


@posix
def test_a_review_killed_in_the_middle_goes_on_where_it_was(troubled: Repo, bare_path: Path, tmp_path: Path) -> None:
    """The kill comes while ruff, which here waits for a file, is under way and all else has finished.

    Meanwhile HEAD moves and files change; the review goes on with the contents it began with.
    """
    go = tmp_path / "go"
    script(bare_path / "ruff", f'cat > /dev/null\nwhile [ ! -e "{go}" ]; do sleep 0.05; done\necho "[]"\n')
    go.touch()
    undisturbed = review(troubled, tmp_path).outputs["markdown"]
    go.unlink()

    page = tmp_path / "second.md"
    inputs = [f"--input=repo={troubled.path}", f"--input=report={page}"]
    with smf.Engine(tmp_path / "runs.db") as engine:
        waits_for_ruff = REQUIRED | {"commits"}
        killed = smf_until(
            lambda: happened(engine.events("r"), "step.complete") == waits_for_ruff,
            ["run", str(TOML), "--run-id=r", "--db=runs.db", *inputs],
            tmp_path,
        )
        before = engine.events("r")

        assert killed is None
        assert engine.get("r").steps["ruff"].state == "running"
        assert not page.exists()

        troubled.commit({"broken one.py": "x = 1\n"}, "Better")
        troubled.write({"settings.txt": "nothing\n"})
        go.touch()
        status = smf_until(lambda: False, ["resume", "r", "--db=runs.db"], tmp_path)
        after = engine.events("r", after=before[-1].seq)
        run = engine.get("r")

    assert (status, run.state) == (0, "completed")
    assert happened(before, "step.complete") & happened(after, "step.start") == set()
    assert happened(after, "step.start") == {"ruff", "report"}
    assert page.read_text(encoding="utf-8") == undisturbed
