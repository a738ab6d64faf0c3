"""Commands: what they get, what is kept of them, and that nothing is left. Numbers are adversarial cases."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import gc
import hashlib
import os
import select
import signal
import subprocess
import sys
import threading
import tracemalloc
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from statemachine_flow.errors import StepError
from statemachine_flow.executors import process
from statemachine_flow.executors.capture import TAIL_BYTES, Capture
from statemachine_flow.executors.process import (
    DEFAULT_ENV,
    Command,
    CommandResult,
    Spill,
    exit_error,
    inherited_env,
    run_command,
    shell_argv,
)

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="commands need POSIX"),
    pytest.mark.timeout(60),
]

PATH = os.defpath + ":/usr/local/bin"
ENV = {"PATH": PATH}


def command(*argv: str, cwd: str = "/", env: Mapping[str, str] = ENV) -> Command:
    return Command(argv=argv, cwd=cwd, env=env)


def shell(text: str, **env: str) -> Command:
    return command(*shell_argv(text), env={**ENV, **env})


def python(text: str, *arguments: str, **env: str) -> Command:
    return command(sys.executable, "-c", text, *arguments, env={**ENV, **env})


def run(what: Command, **options: Any) -> CommandResult:
    return asyncio.run(run_command(what, **options))


class Lifeline:
    """A FIFO that a command's processes hold open: it carries their words and tells whether one is alive."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def line(self) -> str:
        """Wait for the next words."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        poll.poll()
        return os.read(self.fd, 4096).decode()

    async def wait(self) -> str:
        return await asyncio.to_thread(self.line)

    def rest(self) -> str | None:
        """What is left to read; None while somebody holds the other end."""
        words = b""
        try:
            while data := os.read(self.fd, 4096):
                words += data
        except BlockingIOError:
            return None
        return words.decode()


@pytest.fixture
def lifeline(tmp_path: Path) -> Iterator[Lifeline]:
    line = Lifeline(tmp_path / "lifeline")
    yield line
    os.close(line.fd)


@pytest.fixture(params=["pidfd", "waiting thread"])
def exit_watch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of learning of a command's end; systems without pidfd have only the second."""
    if request.param == "waiting thread":

        def refuse(pid: int, flags: int = 0) -> int:
            raise OSError(errno.ENOSYS, "not here")

        monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("this system has no pidfd")
    return str(request.param)


def open_descriptors() -> set[Path] | None:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(FileNotFoundError):
            return set(Path(folder).iterdir())
    return None


def join_commands() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("smf-command"):
            thread.join()


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """After each test: no descriptor, thread, child or warning more than before it."""
    gc.collect()
    before = open_descriptors(), threading.active_count(), list(warnings.filters)
    yield
    join_commands()
    gc.collect()

    assert before == (open_descriptors(), threading.active_count(), list(warnings.filters))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


class Kept:
    """A spill in memory; `fail` names the call that raises."""

    def __init__(self, fail: str = "") -> None:
        self.fail = fail
        self.data = bytearray()
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.fail == name:
            raise OSError(errno.ENOSPC, "full")

    def write(self, data: bytes) -> None:
        self._call("write")
        self.data += data

    def finish(self) -> str:
        self._call("finish")
        return hashlib.sha256(self.data).hexdigest()

    def discard(self) -> None:
        self.calls.append("discard")


class Counted:
    """A spill that keeps nothing but how much it was given."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)

    def finish(self) -> str:
        return f"{self.size} bytes"

    def discard(self) -> None:
        raise AssertionError


# --- starting -----------------------------------------------------------------------------------------------


def _script(path: Path, text: str, mode: int) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


SPAWN_FAILURES: dict[str, tuple[Callable[[Path], Command], str, str]] = {
    "absent program": (lambda _: command("no-such-program"), "'no-such-program': No such file", "PATH"),
    "absent file": (lambda tmp: command(str(tmp / "none")), "none': No such file", "full path"),
    "absent from an empty PATH": (
        lambda _: command("ls", env={"PATH": "/nowhere"}),
        "'ls': No such file",
        "PATH",
    ),
    "not executable": (
        lambda tmp: command(_script(tmp / "plain", "#!/bin/sh\n", 0o644)),
        "plain': Permission denied",
        "chmod +x",
    ),
    "a directory": (lambda tmp: command(str(tmp)), "Permission denied", "chmod +x"),
    "no interpreter line": (
        lambda tmp: command(_script(tmp / "bare", "echo hello\n", 0o755)),
        "bare': Exec format error",
        "#!/bin/sh",
    ),
    "interpreter missing": (
        lambda tmp: command(_script(tmp / "lost", "#!/no/such/interpreter\n", 0o755)),
        "lost': No such file",
        "interpreter",
    ),
    "arguments too long": (lambda _: command("true", "x" * 8_000_000), "Argument list too long", "in a file"),
    "NUL in an argument": (lambda _: command("echo", "a\0b"), "'echo': embedded null byte", "NUL"),
    "NUL in the program": (lambda _: command("ec\0ho"), r"'ec\x00ho': embedded null", "NUL"),
    "NUL in the environment": (
        lambda _: command("true", env={**ENV, "A": "\0"}),
        "embedded null byte",
        "NUL",
    ),
    "NUL in the directory": (lambda _: command("true", cwd="/a\0b"), "embedded null byte", "NUL"),
    "a lone surrogate": (lambda _: command("echo", "\ud800"), "surrogates not allowed", "text"),
    "an impossible variable": (
        lambda _: command("true", env={**ENV, "A=B": "c"}),
        "illegal environment",
        "text",
    ),
    "directory gone": (
        lambda tmp: command("true", cwd=str(tmp / "gone")),
        "gone': No such file",
        "directory",
    ),
    "directory is a file": (
        lambda tmp: command("true", cwd=_script(tmp / "file", "", 0o600)),
        "file': Not a directory",
        "directory",
    ),
    "no program": (lambda _: command(), "without a program", ""),
    "empty program": (lambda _: command(""), "cannot start ''", ""),
}


@pytest.mark.parametrize("case", SPAWN_FAILURES)
def test_case_80_what_cannot_start_is_step_spawn_with_program_reason_and_hint(case: str, tmp_path: Path) -> None:
    make, message, hint = SPAWN_FAILURES[case]

    with pytest.raises(StepError) as caught:
        run(make(tmp_path))

    assert caught.value.kind == "step.spawn"
    assert caught.value.name == "CommandNotStarted"
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize("allowed", range(12))
def test_case_80_running_out_of_descriptors_is_step_spawn_and_leaks_nothing(
    allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every place that opens a pipe refuses in turn, until there are enough."""
    left = allowed
    real = os.pipe

    def pipe() -> tuple[int, int]:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real()

    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def limited() -> CommandResult:
        monkeypatch.setattr(os, "pipe", pipe)
        monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
        try:
            return await run_command(shell("echo fine"))
        finally:
            monkeypatch.undo()

    needed = 5  # orders, stdout, stderr, subprocess's own, the end of the command
    if allowed >= needed:
        assert asyncio.run(limited()).stdout == "fine\n"
        return
    with pytest.raises(StepError) as caught:
        asyncio.run(limited())

    assert caught.value.kind == "step.spawn"
    assert "too many processes or open files" in (caught.value.hint or "")


@pytest.mark.parametrize("allowed", [0, 1])
def test_case_80_running_out_of_threads_is_step_spawn_and_leaks_nothing(
    allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second thread is the one that waits for the command's end where there is no pidfd."""
    started: list[threading.Thread] = []
    real = threading.Thread.start

    def start(self: threading.Thread) -> None:
        if len(started) == allowed:
            raise RuntimeError("can't start new thread")
        started.append(self)
        real(self)

    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(errno.ENOSYS, "not here")

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    monkeypatch.setattr(threading.Thread, "start", start)

    with pytest.raises(StepError, match="can't start new thread") as caught:
        run(command("sleep", "600"))

    assert caught.value.kind == "step.spawn"


def test_starting_a_command_leaves_the_warning_filters_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`subprocess` swaps them while it searches PATH, and two threads that do so may swap them for good."""
    monkeypatch.delattr(warnings, "catch_warnings")

    assert run(command("echo", "hello")).stdout == "hello\n"


def test_the_program_is_looked_up_in_the_commands_own_path(tmp_path: Path) -> None:
    _script(tmp_path / "greet", "#!/bin/sh\necho hello from $0\n", 0o755)

    result = run(command("greet", env={"PATH": f"/nowhere:{tmp_path}"}))

    assert result.stdout == f"hello from {tmp_path}/greet\n"


def test_a_program_with_a_slash_is_found_from_the_commands_directory(tmp_path: Path) -> None:
    _script(tmp_path / "greet", "#!/bin/sh\npwd\n", 0o755)

    result = run(command("./greet", cwd=str(tmp_path)))

    assert result.stdout == f"{tmp_path.resolve()}\n"


def test_arguments_are_passed_as_they_are() -> None:
    nasty = ["; rm -rf ~", "$(id)", "a\nb", "", "*", "'\"", "é", "--", "\x1b[2J"]

    result = run(python("import sys; print(sys.argv[1:])", *nasty))

    assert result.stdout == f"{nasty!r}\n"


# --- how it ended -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "exit_code", "name"),
    [
        ("echo careful >&2", 0, None),
        ("exit 1", 1, None),
        ("no-such-program", 127, None),
        ("/", 126, None),
        ("kill -KILL $$", 137, "SIGKILL"),
        ("ulimit -c 0; kill -SEGV $$", 139, "SIGSEGV"),
        ("kill -TERM $$", 143, "SIGTERM"),
        ("sh -c 'kill -KILL $$'; exit $?", 137, None),
        ("exit 255", 255, None),
    ],
)
def test_case_81_status_and_signal_are_what_a_shell_would_say(
    text: str, exit_code: int, name: str | None, exit_watch: str
) -> None:
    result = run(shell(text))

    assert (exit_code, name) == (result.exit_code, result.signal)
    assert not result.leaked
    assert result.seconds > 0


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="this system has no real-time signals")
def test_case_81_a_signal_without_a_name_is_numbered() -> None:
    number = signal.SIGRTMIN + 3

    result = run(python(f"import os; os.kill(os.getpid(), {number})"))

    assert (128 + number, f"SIG{number}") == (result.exit_code, result.signal)


def test_case_81_a_success_with_talk_on_stderr_is_a_success() -> None:
    result = run(shell("echo out; echo careful >&2"))

    assert result == CommandResult(
        exit_code=0,
        stdout="out\n",
        stderr="careful\n",
        stdout_bytes=4,
        stderr_bytes=8,
        seconds=result.seconds,
    )


def test_case_81_a_status_that_somebody_else_took_is_never_called_a_success(exit_watch: str) -> None:
    """`subprocess` itself reports 0 here."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(StepError) as caught:
            run(shell("exit 3"))
    finally:
        signal.signal(signal.SIGCHLD, before)

    assert caught.value.kind == "step.exit"
    assert "lost" in caught.value.message


@pytest.mark.parametrize(
    ("result", "message", "hint"),
    [
        (CommandResult(exit_code=2, stderr="no rule\n"), "'make' ended with status 2:\nno rule", None),
        (CommandResult(exit_code=1), "'make' ended with status 1", None),
        (CommandResult(exit_code=126), "'make' ended with status 126", "executable"),
        (CommandResult(exit_code=127), "'make' ended with status 127", "PATH"),
        (CommandResult(exit_code=137), "'make' ended with status 137", "memory"),
        (CommandResult(exit_code=137, signal="SIGKILL"), "'make' was ended by SIGKILL", "memory"),
        (CommandResult(exit_code=139, signal="SIGSEGV"), "'make' was ended by SIGSEGV", "crashed"),
        (
            CommandResult(exit_code=1, stderr="the beginning", stderr_truncated=True, stderr_tail="the end"),
            "'make' ended with status 1:\nthe end",
            None,
        ),
    ],
)
def test_case_81_an_exit_error_says_how_and_the_last_words(
    result: CommandResult, message: str, hint: str | None
) -> None:
    error = exit_error(command("make", "-j2"), result)

    assert ("step.exit", "CommandFailed", message) == (error.kind, error.name, error.message)
    assert error.hint is None if hint is None else hint in (error.hint or "")


def test_case_81_an_exit_error_does_not_repeat_a_shell_text_or_arguments() -> None:
    result = CommandResult(exit_code=1)

    assert exit_error(shell("curl -H secret"), result).message == "the shell command ended with status 1"
    assert "secret" not in exit_error(command("curl", "secret"), result).message


@pytest.mark.parametrize(
    ("stderr", "kept"),
    [
        ("x" * 3000 + "\n" + "é" * 2040, "é" * 2040),  # whole lines
        ("é" * 5000, "é" * 2048),  # one line too long
        ("a" + "é" * 5000, "é" * 2048),
        ("aé" * 5000, "aé" * 1365),  # the cut falls into a character
        ("short\n\n", "short"),
    ],
)
def test_case_81_the_last_4_kib_of_stderr_are_kept(stderr: str, kept: str) -> None:
    message = exit_error(command("make"), CommandResult(exit_code=1, stderr=stderr)).message

    assert message.partition(":\n")[2] == kept


def test_case_81_the_end_of_a_long_stderr_reaches_the_error() -> None:
    what = shell("yes noise | head -c 99996 >&2; echo the reason >&2; exit 4")

    result = run(what, capture_limit=1000)

    assert exit_error(what, result).message.endswith("noise\nthe reason")


# --- output -------------------------------------------------------------------------------------------------


def test_case_83_a_flood_keeps_memory_small_and_is_counted_whole() -> None:
    size = 200_000_000
    tracemalloc.start()
    try:
        result = run(shell(f"yes | head -c {size}"), open_spill=Counted)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert size == result.stdout_bytes
    assert result.stdout == "y\n" * (process.CAPTURE_LIMIT // 2)
    assert result.stdout_truncated
    assert result.stdout_spill == f"{process.SPILL_LIMIT} bytes"
    assert (result.stderr_truncated, result.stderr_spill) == (False, None)
    assert peak < 16 * 1024 * 1024


def test_case_83_both_streams_flooding_at_once_do_not_block_each_other() -> None:
    result = run(shell("yes out | head -c 3000000 & yes err | head -c 3000000 >&2; wait"), capture_limit=10)

    assert (result.stdout_bytes, result.stderr_bytes) == (3_000_000, 3_000_000)
    assert (result.stdout, result.stderr) == ("out\nout\nou", "err\nerr\ner")


@pytest.mark.parametrize(
    ("written", "text", "lossy"),
    [
        (b"no newline", "no newline", False),
        (b"\xff\xfeok\xc3", "\ufffd\ufffdok\ufffd", True),
        (b"\x1b]52;c;aGk=\x07\x1b[2J\x9b", "\x1b]52;c;aGk=\x07\x1b[2J\ufffd", True),
        (b"\x1b[31m\x00\r\n", "\x1b[31m\x00\r\n", False),
        ("\ufffd".encode(), "\ufffd", False),
        (b"", "", False),
    ],
)
def test_case_83_bytes_become_text_and_losses_are_flagged(written: bytes, text: str, lossy: bool) -> None:
    result = run(python(f"import sys; sys.stdout.buffer.write({written!r})"))

    assert (text, lossy, len(written)) == (result.stdout, result.lossy, result.stdout_bytes)


@pytest.mark.parametrize(("limit", "text"), [(4, "aé"), (5, "aé€"[:2]), (6, "aé€")])
def test_case_83_a_cut_inside_a_character_is_not_a_loss(limit: int, text: str) -> None:
    capture = Capture(limit=limit, spill_limit=0, open_spill=None)
    capture.feed("aé€x".encode())

    kept = capture.finish()

    assert (text, False, True) == (kept.text, kept.lossy, kept.truncated)


@given(st.lists(st.binary(max_size=60)), st.integers(0, 80), st.integers(0, 120), st.booleans())
def test_case_83_however_a_stream_is_cut_up_the_same_is_kept(
    chunks: list[bytes], limit: int, spill_limit: int, spilling: bool
) -> None:
    stream, spill = b"".join(chunks), Kept()
    capture = Capture(limit=limit, spill_limit=spill_limit, open_spill=(lambda: spill) if spilling else None)
    for chunk in chunks:
        capture.feed(chunk)

    kept = capture.finish()
    capture.discard()

    cut = len(stream) > limit
    head, tail = stream[:limit].decode(errors="replace"), stream[-TAIL_BYTES:].decode(errors="replace")
    assert kept.size == len(stream)
    assert kept.truncated == cut
    assert "\ufffd" in kept.text if kept.lossy else stream.startswith(kept.text.encode())
    # Characters that a cut fell into are left out.
    assert head.startswith(kept.text)
    assert len(head) - len(kept.text) <= (3 if cut else 0)
    assert tail.endswith(kept.tail)
    assert len(tail) - len(kept.tail) <= (3 if cut else len(tail))
    assert bytes(spill.data) == (stream[:spill_limit] if cut and spilling else b"")
    assert kept.spill == (hashlib.sha256(spill.data).hexdigest() if cut and spilling else None)
    assert "discard" not in spill.calls


def test_case_83_a_long_tail_is_the_streams_last_bytes() -> None:
    stream = b"".join(b"line %d\n" % number for number in range(5000))
    capture = Capture(limit=10, spill_limit=0, open_spill=None)
    for start in range(0, len(stream), 1000):
        capture.feed(stream[start : start + 1000])

    assert capture.finish().tail.encode() == stream[-TAIL_BYTES:]


def test_case_83_a_tail_begins_with_a_whole_character() -> None:
    capture = Capture(limit=0, spill_limit=0, open_spill=None)
    capture.feed("€".encode() * 2000)

    assert capture.finish().tail == "€" * (TAIL_BYTES // 3)


def test_case_83_the_spill_has_the_whole_stream_its_beginning_included() -> None:
    spills: list[Kept] = []

    def open_spill() -> Spill:
        spills.append(Kept())
        return spills[-1]

    result = run(shell("seq 100000; seq 7 >&2"), capture_limit=50, open_spill=open_spill)

    (spill,) = spills
    whole = "".join(f"{number}\n" for number in range(1, 100_001))
    assert spill.data.decode() == whole
    assert result.stdout_spill == hashlib.sha256(whole.encode()).hexdigest()
    assert result.stdout == whole[:50]
    assert (result.stderr, result.stderr_spill, result.stderr_truncated) == (
        "1\n2\n3\n4\n5\n6\n7\n",
        None,
        False,
    )


@pytest.mark.parametrize("fail", ["write", "finish", "open"])
def test_an_error_of_the_spill_ends_the_command_and_is_raised(fail: str, lifeline: Lifeline) -> None:
    spill = Kept(fail)

    def open_spill() -> Spill:
        if fail == "open":
            raise OSError(errno.ENOSPC, "full")
        return spill

    endless = "" if fail == "finish" else "yes"
    with pytest.raises(OSError, match="full"):
        run(
            shell(f"exec 9>$LINE; seq 1000; {endless}", LINE=lifeline.path),
            capture_limit=9,
            open_spill=open_spill,
        )

    assert lifeline.rest() == ""
    assert spill.calls[-1:] == ([] if fail == "open" else ["discard"])


# --- what a command gets ------------------------------------------------------------------------------------


def test_case_86_stdin_is_empty_and_there_is_no_terminal() -> None:
    """Even when the engine's own stdin has something to say."""
    readable, writable = os.pipe()
    os.write(writable, b"for the engine\n")
    own = os.dup(0)
    os.dup2(readable, 0)
    try:
        result = run(shell("cat; read line || echo nothing; (: </dev/tty) 2>/dev/null || echo no terminal"))
    finally:
        os.dup2(own, 0)
        for descriptor in (own, readable, writable):
            os.close(descriptor)

    assert result.stdout == "nothing\nno terminal\n"


def test_case_87_the_environment_is_exactly_the_one_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMF_TOKEN", "secret")

    result = run(command("env", env={"PATH": PATH, "ONLY": "this"}))

    assert sorted(result.stdout.splitlines()) == ["ONLY=this", f"PATH={PATH}"]


def test_case_87_no_descriptor_but_the_three_is_inherited(tmp_path: Path) -> None:
    with (tmp_path / "open").open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        text = """
import os
for fd in range(256):
    try:
        os.fstat(fd)
    except OSError:
        continue
    print(fd)
"""
        result = run(python(text))

    assert result.stdout == "0\n1\n2\n"


def test_case_87_a_command_leads_its_own_session_and_group() -> None:
    result = run(python("import os; print(os.getpid() == os.getsid(0) == os.getpgid(0))"))

    assert result.stdout == "True\n"


def test_case_87_keys_and_tokens_are_not_inherited_unless_listed() -> None:
    environ = dict.fromkeys(
        ["PATH", "HOME", "LC_ALL", "LC_", "TZ", "OPENAI_API_KEY", "SMF_TOKEN", "HTTP_PROXY", "PATHS", "path"],
        "x",
    )

    assert list(inherited_env(environ)) == ["PATH", "HOME", "LC_ALL", "LC_", "TZ"]
    assert "SMF_TOKEN" in inherited_env(environ, ["SMF_TOKEN"])
    assert "OPENAI_API_KEY" in inherited_env(environ, ["OPENAI_*"])
    assert inherited_env(environ, ["*"]) == environ
    assert not [name for name in DEFAULT_ENV if any(word in name for word in ("KEY", "TOKEN", "SECRET", "PROXY"))]


def test_case_87_a_commands_repr_does_not_show_its_environment() -> None:
    assert "hunter2" not in repr(command("true", env={"PASSWORD": "hunter2"}))


# --- what is left -------------------------------------------------------------------------------------------


def test_case_82_a_background_process_that_holds_stdout_ends_with_the_command(
    lifeline: Lifeline, exit_watch: str
) -> None:
    result = run(shell("exec 9>$LINE; sleep 600 & echo done; exit 5", LINE=lifeline.path))

    assert (result.exit_code, result.stdout, result.leaked) == (5, "done\n", False)
    assert result.seconds < 600
    assert lifeline.rest() == ""


def test_case_82_a_background_process_without_our_pipes_ends_with_the_command(
    lifeline: Lifeline, exit_watch: str
) -> None:
    result = run(shell("exec 9>$LINE; sleep 600 >/dev/null 2>&1 & echo done", LINE=lifeline.path))

    assert (result.exit_code, result.stdout, result.leaked) == (0, "done\n", False)
    assert lifeline.rest() == ""


def test_case_82_a_background_process_that_ignores_term_is_killed(lifeline: Lifeline) -> None:
    text = "exec 9>$LINE; (trap '' TERM; sleep 600) >/dev/null 2>&1 & exit 0"

    result = run(shell(text, LINE=lifeline.path))

    assert (result.exit_code, result.leaked) == (0, False)
    assert lifeline.rest() == ""


def test_case_82_a_background_process_may_finish_its_sentence(lifeline: Lifeline, tmp_path: Path) -> None:
    """The command has ended, which closed the lifeline, before the other is told to speak."""
    go = tmp_path / "go"
    os.mkfifo(go)
    text = "exec 9>$LINE; (exec 9>&-; read word <$GO; echo $word) & echo early; echo up >&9"

    async def main() -> CommandResult:
        task = asyncio.create_task(run_command(shell(text, LINE=lifeline.path, GO=str(go))))
        assert await lifeline.wait() == "up\n"
        await lifeline.wait()  # its end
        await asyncio.to_thread(go.write_text, "late\n")
        return await task

    assert asyncio.run(main()).stdout == "early\nlate\n"


def test_case_82_a_background_flood_does_not_keep_the_command_open(lifeline: Lifeline) -> None:
    result = run(shell("exec 9>$LINE; yes & exit 0", LINE=lifeline.path), capture_limit=100)

    assert (result.exit_code, result.stdout) == (0, "y\n" * 50)
    assert lifeline.rest() == ""


def test_case_82_what_is_left_and_may_not_be_signalled_does_not_spoil_the_result(
    monkeypatch: pytest.MonkeyPatch, exit_watch: str
) -> None:
    def refuse(group: int, number: int) -> None:
        raise PermissionError(errno.EPERM, "not yours")

    monkeypatch.setattr(os, "killpg", refuse)

    assert run(shell("echo hello; exit 3")).exit_code == 3


def test_case_84_a_process_that_left_the_group_with_our_output_is_reported(lifeline: Lifeline) -> None:
    text = """
import os, subprocess, sys
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(child.pid, flush=True)
os._exit(0)
"""
    result = run(python(text))
    os.kill(int(result.stdout), signal.SIGKILL)

    assert (result.exit_code, result.leaked) == (0, True)


# --- cancelling ---------------------------------------------------------------------------------------------


async def cancel_when_up(what: Command, lifeline: Lifeline, *, times: int = 1, **options: Any) -> None:
    """Start a command, wait for its word `up`, cancel it, and see the cancellation come back."""
    task = asyncio.create_task(run_command(what, **options))
    assert await lifeline.wait() == "up\n"
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task


#: Takes TERM for an order to clean up. A shell's trap would do, but a shell may lose a signal while it forks.
CLEANS_UP = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.write(9, b"up\\n")
signal.sigwait({signal.SIGTERM})
os.write(9, b"bye\\n")
"""

#: What the command does, its grace in seconds, what it says on its lifeline after TERM.
CANCELLED: dict[str, tuple[str, float, str]] = {
    "plain": ("echo up >&9; sleep 600", 600, ""),
    "cleans up": ('exec "$PYTHON" -c "$CLEANS_UP"', 600, "bye\n"),
    "ignores TERM": ("trap '' TERM; echo up >&9; sleep 600", 0.05, ""),
    "stops itself": ("echo up >&9; kill -STOP $$; sleep 600", 600, ""),
    "stops itself and ignores TERM": ("trap '' TERM; echo up >&9; kill -STOP $$; sleep 600", 0.05, ""),
    "leaves its clean-up to a child": ('"$PYTHON" -c "$CLEANS_UP"; :', 600, "bye\n"),
    "a child outlives it": ("(trap '' TERM; echo up >&9; sleep 600) >/dev/null 2>&1 & wait", 0.05, ""),
    "floods": ("echo up >&9; yes", 600, ""),
    "closed its output": ("exec >&- 2>&-; echo up >&9; sleep 600", 600, ""),
}


@pytest.mark.parametrize("case", CANCELLED)
def test_case_84_a_cancelled_command_and_its_group_are_dead_when_it_is_reported(
    case: str, lifeline: Lifeline, exit_watch: str
) -> None:
    text, grace, last_words = CANCELLED[case]
    what = shell(f"exec 9>$LINE; {text}", LINE=lifeline.path, PYTHON=sys.executable, CLEANS_UP=CLEANS_UP)

    asyncio.run(cancel_when_up(what, lifeline, grace=grace))

    assert lifeline.rest() == last_words


def test_case_84_a_second_cancellation_kills_at_once(lifeline: Lifeline) -> None:
    what = shell("exec 9>$LINE; trap '' TERM; echo up >&9; sleep 600", LINE=lifeline.path)

    asyncio.run(cancel_when_up(what, lifeline, times=2, grace=600))

    assert lifeline.rest() == ""


def test_case_84_a_timeout_comes_back_as_a_timeout(lifeline: Lifeline) -> None:
    async def main() -> None:
        async with asyncio.timeout(None) as timeout:
            task = asyncio.create_task(lifeline.wait())
            task.add_done_callback(lambda _: timeout.reschedule(0))
            await run_command(shell("exec 9>$LINE; echo up >&9; sleep 600", LINE=lifeline.path))

    with pytest.raises(TimeoutError):
        asyncio.run(main())

    assert lifeline.rest() == ""


def test_case_84_a_cancelled_commands_spill_is_discarded(lifeline: Lifeline) -> None:
    spill = Kept()
    what = shell("exec 9>$LINE; seq 100; echo up >&9; sleep 600", LINE=lifeline.path)

    asyncio.run(cancel_when_up(what, lifeline, capture_limit=0, open_spill=lambda: spill))

    assert spill.calls[-1:] in ([], ["discard"])  # cancelled before or after its output was read


def test_case_84_a_command_that_may_not_be_signalled_is_given_up_and_reaped_later(
    lifeline: Lifeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A program that changed its user is out of reach."""
    go = tmp_path / "go"
    os.mkfifo(go)

    def refuse(group: int, number: int) -> None:
        raise PermissionError(errno.EPERM, "not yours")

    monkeypatch.setattr(os, "killpg", refuse)
    what = shell("exec 9>$LINE; echo up >&9; read word <$GO", LINE=lifeline.path, GO=str(go))

    asyncio.run(cancel_when_up(what, lifeline, grace=0.01))

    assert lifeline.rest() is None
    go.write_text("end\n")
    join_commands()
    assert lifeline.rest() == ""


#: Linux's prctl that makes a process the parent of its descendants' orphans, as process 1 of a container is.
SUBREAPER = "import ctypes; ctypes.CDLL(None).prctl(36, {}, 0, 0, 0)"
ORPHAN_MAKER = "exec 9>$LINE; (echo up >&9; exec sleep 600) >/dev/null 2>&1 & wait"


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers are Linux's")
def test_orphans_that_become_our_children_are_reaped(lifeline: Lifeline) -> None:
    """The fixture finds no child left."""
    exec(SUBREAPER.format(1))
    try:
        asyncio.run(cancel_when_up(shell(ORPHAN_MAKER, LINE=lifeline.path), lifeline, grace=600))
    finally:
        exec(SUBREAPER.format(0))


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers are Linux's")
def test_orphans_that_nobody_reaps_do_not_keep_a_cancelled_command_open(lifeline: Lifeline) -> None:
    """As in a container whose process 1 does not reap: the group stays, made of zombies."""
    text = """
import asyncio, os
from statemachine_flow.executors.process import *

async def main():
    command = Command(argv=shell_argv(os.environ["TEXT"]), cwd="/", env=dict(os.environ))
    task = asyncio.create_task(run_command(command, grace=600))
    await asyncio.to_thread(input)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

asyncio.run(main())
"""
    env = {**os.environ, "LINE": lifeline.path, "TEXT": ORPHAN_MAKER}
    careless_parent = (
        f"{SUBREAPER.format(1)}; import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    )
    argv = [sys.executable, "-c", careless_parent, text]
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, text=True) as parent:
        assert lifeline.line() == "up\n"
        parent.communicate("\n")

    assert parent.returncode == 0
    assert lifeline.rest() == ""


def test_a_coroutine_that_is_thrown_away_kills_its_command(lifeline: Lifeline) -> None:
    loop = asyncio.new_event_loop()
    coroutine = run_command(shell("exec 9>$LINE; trap '' TERM; echo up >&9; sleep 600", LINE=lifeline.path), grace=600)
    task = loop.create_task(coroutine)
    assert loop.run_until_complete(lifeline.wait()) == "up\n"
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is what this test is about
    coroutine.close()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    join_commands()

    assert lifeline.rest() == ""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the end of a command is told by a thread there")
def test_a_command_that_had_ended_when_it_is_cancelled_has_its_result_and_its_group_is_ended(
    lifeline: Lifeline,
) -> None:
    async def main() -> CommandResult:
        what = shell("exec 9>$LINE; sleep 600 & echo done; echo $$ >&9", LINE=lifeline.path)
        task = asyncio.create_task(run_command(what, grace=600))
        pid = int(await lifeline.wait())
        with contextlib.suppress(ChildProcessError):  # nobody on the loop has heard of its end when this is over
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - the loop is to stand still
        task.cancel()
        return await task

    result = asyncio.run(main())
    assert (result.exit_code, result.stdout, lifeline.rest()) == (0, "done\n", "")


def test_a_command_cancelled_at_any_moment_ends_once_and_leaves_nothing() -> None:
    async def trial(turns: int) -> str:
        task = asyncio.create_task(run_command(shell("echo hello")))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            return (await task).stdout
        except asyncio.CancelledError:
            return "cancelled"

    async def main() -> set[str]:
        return {await trial(turns) for turns in (*range(5), *range(10, 3000, 100))}

    assert asyncio.run(main()) <= {"cancelled", "hello\n"}


# --- many, anywhere -----------------------------------------------------------------------------------------


async def many() -> None:
    for number in range(50):
        assert (await run_command(command("echo", str(number)))).stdout == f"{number}\n"
    results = await asyncio.gather(*(run_command(shell(f"echo {number}; exit 3")) for number in range(20)))
    assert [(result.stdout, result.exit_code) for result in results] == [(f"{n}\n", 3) for n in range(20)]


def in_main_thread(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def in_background_thread(work: Coroutine[Any, Any, None]) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


@pytest.mark.parametrize("place", [in_main_thread, in_background_thread])
def test_many_commands_leave_no_descriptor_thread_child_or_warning(
    place: Callable[[Coroutine[Any, Any, None]], None], exit_watch: str
) -> None:
    """What is left is checked after every test."""
    place(many())
