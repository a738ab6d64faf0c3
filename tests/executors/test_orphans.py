"""Orphans: what has a mark is ended, whatever it did to hide; strangers are never signalled."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from statemachine_flow.executors import orphans
from statemachine_flow.executors.orphans import MARK, listed_marks, mark_of, reap

pytestmark = pytest.mark.skipif(os.name == "nt", reason="nothing is found on Windows")
linux = pytest.mark.skipif(sys.platform != "linux", reason="others hide the environment of `sh` and `sleep`")

PATIENCE = 30.0
#: Says that it is there, and goes on.
WAITS = "echo here; exec sleep 600"


@pytest.fixture
def mark() -> str:
    return mark_of(uuid.uuid4().hex, "r")[MARK]


@contextlib.contextmanager
def started(text: str, mark: str | None) -> Iterator[subprocess.Popen[str]]:
    """A shell in a session of its own, once it has said that it is there."""
    environment = os.environ | ({} if mark is None else {MARK: mark})
    command = ["/bin/sh", "-c", text]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "here"
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in {"", "Z"}


@linux
@pytest.mark.parametrize(
    ("text", "ended_by"),
    [
        (WAITS, signal.SIGTERM),
        ("trap '' TERM; echo here; while :; do sleep 600; done", signal.SIGKILL),
        ("echo here; kill -STOP $$; sleep 600", signal.SIGTERM),
    ],
    ids=["willing", "deaf", "stopped"],
)
def test_a_marked_process_gets_term_and_after_the_grace_kill(mark: str, text: str, ended_by: signal.Signals) -> None:
    with started(text, mark) as process:
        assert reap([mark], grace=0.3) >= 1
        assert process.wait(PATIENCE) == -ended_by


@linux
def test_strangers_are_left_alone(mark: str) -> None:
    """Without a mark, with one that is longer or shorter, or with the name of another run or engine."""
    owner, _, run = mark.partition(":")
    with contextlib.ExitStack() as stack:
        others = (None, mark + "x", mark[:-1], f"{owner}:other", f"{uuid.uuid4().hex}:{run}")
        strangers = [stack.enter_context(started(WAITS, other)) for other in others]
        victim = stack.enter_context(started(WAITS, mark))
        assert reap([mark], grace=PATIENCE) == 1
        assert victim.wait(PATIENCE) == -signal.SIGTERM
        assert [stranger.poll() for stranger in strangers] == [None] * len(strangers)


@contextlib.contextmanager
def with_child(wrapped: str, mark: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    environment = os.environ | {MARK: mark}
    command = ["/bin/sh", "-c", f"{wrapped} >/dev/null & echo $!; wait"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            yield process, child
        finally:
            for pid in (process.pid, child):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@linux
@pytest.mark.parametrize("wrapped", ["setsid sleep 600", "setsid sh -c 'sleep 600 & wait'", "env -i sleep 600"])
def test_what_left_the_group_is_found_and_so_is_what_wiped_its_environment_in_it(mark: str, wrapped: str) -> None:
    with with_child(wrapped, mark) as (process, child):
        assert is_alive(child)
        assert reap([mark], grace=0.5) >= 2
        assert process.wait(PATIENCE) != 0
        assert not is_alive(child)


@linux
def test_an_engine_that_a_step_started_does_not_end_itself_or_those_above_it(mark: str) -> None:
    text = (
        "import subprocess, sys; from statemachine_flow.executors.orphans import reap;"
        "other = subprocess.Popen(['sleep', '600']); print(reap([sys.argv[1]], 5.0), other.wait())"
    )
    command = f'"{sys.executable}" -c "{text}" {mark}'
    environment = os.environ | {MARK: mark, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        ["/bin/sh", "-c", f"{command}; echo lives"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.stdout, done.stderr) == ("1 -15\nlives\n", "")


@linux
def test_a_number_that_passed_to_a_stranger_after_it_was_found_is_not_signalled(
    mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without descriptors of processes the mark is read again right before each signal."""
    seen: list[int] = []
    real = orphans._mark_of

    def changed(pid: int) -> str:
        found = real(pid)
        if found == mark:
            seen.append(pid)
            return mark if len(seen) == 1 else "somebody:else"
        return found

    monkeypatch.setattr(orphans, "_open", lambda _pid: -1)
    monkeypatch.setattr(orphans, "_mark_of", changed)
    with started(WAITS, mark) as process:
        assert reap([mark], grace=0.1) == 1
        assert process.poll() is None
    assert len(seen) > 1


@linux
def test_without_descriptors_of_processes_they_are_ended_all_the_same(
    mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "_open", lambda _pid: -1)
    with started(WAITS, mark) as process, started(WAITS, None) as stranger:
        assert reap([mark], grace=PATIENCE) == 1
        assert process.wait(PATIENCE) == -signal.SIGTERM
        assert stranger.poll() is None


def test_where_only_ps_tells_of_environments_it_is_asked(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of BSD's `ps` are answered from here: it has `-E`, which others have not."""
    monkeypatch.setattr(orphans, "_HAS_PROC", False)

    with started(WAITS, mark) as process, started(WAITS, None) as stranger:

        def ps(*arguments: str) -> str:
            if "ppid=" in arguments:
                return "1\n"
            lines = {process.pid: f"sleep 600 PATH=/bin {MARK}={mark}", stranger.pid: "sleep 600 PATH=/bin"}
            return "".join(f"{pid:6} {line}\n" for pid, line in lines.items() if is_alive(pid))

        monkeypatch.setattr(orphans, "_ps", ps)
        assert reap([mark], grace=PATIENCE) == 1
        assert process.wait(PATIENCE) == -signal.SIGTERM
        assert stranger.poll() is None


@pytest.mark.parametrize("line", ["", "\n", "  x y SMF_MARK=a:b", "7", "7 sleep XSMF_MARK=a:b"])
def test_lines_of_ps_that_tell_of_no_mark_are_passed_over(line: str) -> None:
    assert list(listed_marks(line)) == []
