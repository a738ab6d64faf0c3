"""What a person at a terminal sees, on a pseudo-terminal of the standard library."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.test_boundary import hostile_document

if sys.platform == "win32":
    pytest.skip("pseudo-terminals", allow_module_level=True)

import fcntl
import pty
import struct
import termios

pytest.importorskip("rich")


class Terminal:
    """A process at a terminal: what it shows, and the keys that are pressed."""

    def __init__(self, arguments: list[str], rows: int, env: dict[str, str]) -> None:
        self._keys, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 100, 0, 0))
        self.process = subprocess.Popen(
            arguments,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", **env},
            # A session of its own, led by the process at this terminal.
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - it takes no lock
        )
        os.close(theirs)
        self.shown = ""

    def read_until(self, text: str | None) -> None:
        """Read what is shown until `text` is; None: until the process is gone."""
        while text is None or text not in self.shown:
            try:
                data = os.read(self._keys, 65536)
            except OSError:  # Linux says so when the other end is closed
                data = b""
            if not data:
                assert text is None, f"{text!r} was never shown: {self.shown}"
                return
            self.shown += data.decode(errors="replace")

    def press(self, keys: bytes) -> None:
        os.write(self._keys, keys)

    def hang_up(self) -> None:
        os.close(self._keys)
        self._keys = -1

    def end(self) -> int:
        self.read_until(None)
        return self.process.wait(timeout=60)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self._keys >= 0:
            os.close(self._keys)


Open = Callable[..., Terminal]


@pytest.fixture
def at_terminal(command: list[str]) -> Iterator[Open]:
    opened: list[Terminal] = []

    def start(*arguments: str, rows: int = 30, **env: str) -> Terminal:
        opened.append(Terminal([*command, *arguments], rows, env))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


def words(shown: str) -> str:
    """The text of what was shown last, without the terminal's own codes."""
    frame = shown.rsplit("\x1b[1A\x1b[2K", 1)[-1]
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frame).replace("\r", "")


def test_a_terminal_gets_a_table_that_ends_with_the_result(at_terminal: Open) -> None:
    terminal = at_terminal("run", "bad.toml", "--run-id", "r1")

    assert terminal.end() == 1
    shown = words(terminal.shown)
    assert re.search(r"^bad r1  3/3$", shown, re.MULTILINE)
    assert re.search(r"^fine +completed +0\.\d\d s", shown, re.MULTILINE)
    assert re.search(r"^breaks +failed .*the shell command ended with status 3", shown, re.MULTILINE)
    assert re.search(r"^after +skipped ", shown, re.MULTILINE)
    assert "run r1 failed: 1/3 steps (1 failed, 1 skipped)" in shown
    assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h") > 0


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_wants_no_colour_gets_lines(at_terminal: Open, env: dict[str, str]) -> None:
    terminal = at_terminal("run", "good.toml", **env)

    assert terminal.end() == 0
    assert "\x1b" not in terminal.shown
    assert re.search(r"\d\d:\d\d:\d\d greet started\r\n", terminal.shown)


@pytest.mark.parametrize("env", [{}, {"TERM": "dumb"}])
def test_a_rehearsal_shows_how_far_it_is_in_one_line(at_terminal: Open, env: dict[str, str]) -> None:
    terminal = at_terminal("rehearse", "good.toml", "--rows", "1", **env)

    assert terminal.end() == 0
    counted = re.findall(r"\r(\d+) of (\d+) points", terminal.shown)
    assert counted == [(str(done), counted[0][1]) for done in range(int(counted[0][1]) + 1)]
    assert "\n" not in terminal.shown.partition("good: ")[0]
    assert re.search(r" points\r +\rgood: ", terminal.shown)
    assert terminal.shown.startswith("\rthe undisturbed run\r0 of ")


def test_colours_are_those_of_the_states(at_terminal: Open) -> None:
    at_terminal("run", "bad.toml", "--run-id", "r1").end()
    terminal = at_terminal("list")

    assert terminal.end() == 0
    assert "\x1b[31mfailed" in terminal.shown


def test_a_table_has_no_more_rows_than_the_terminal(at_terminal: Open, folder: Path) -> None:
    """What runs or failed comes first."""
    steps = [f's{n} = {{ run = "true" }}' for n in range(60)]
    text = 'dsl = "1"\nname = "wide"\n[steps]\n' + "\n".join(steps) + '\nbad = { run = "exit 1", optional = true }\n'
    (folder / "wide.toml").write_text(text)
    terminal = at_terminal("run", "wide.toml", rows=15)

    assert terminal.end() == 0
    table = words(terminal.shown).partition("run ")[0].splitlines()
    assert 5 < len(table) < 15
    assert any(line.startswith("bad ") for line in table)


def test_steps_inside_others_stand_below_them_and_long_messages_take_no_room_from_the_rest(
    at_terminal: Open, folder: Path
) -> None:
    (folder / "nested.toml").write_text(
        'dsl = "1"\nname = "nested"\nfinally.clean.run = ["true"]\n'
        'steps.first.steps.each = { for_each = { items = ["x/y", "z"], key = "${{ item }}" }, run = ["true"] }\n'
        'steps.first.steps.then = { needs = ["each"], run = ["true"] }\n'
        f'steps.second = {{ optional = true, run = "echo {"long " * 40} >&2; exit 1" }}\n'
        'steps.third = { needs = ["first", "second"], repeat = { until = "round == 2" }, run = ["true"] }\n'
    )
    terminal = at_terminal("run", "nested.toml", "--run-id", "r1")

    assert terminal.end() == 0
    table = words(terminal.shown).partition("\nrun r1 completed: 2/3")[0].splitlines()
    rows = [line.split()[:2] for line in table[2:]]
    assert table[0] == "nested r1  3/3"
    assert rows == [
        ["first", "completed"],
        ["first/each", "completed"],
        ["first/each[x/y]", "completed"],
        ["first/each[z]", "completed"],
        ["first/then", "completed"],
        ["second", "failed"],
        ["third", "completed"],
        ["@finally/clean", "completed"],
    ]
    assert re.match(r"second +failed +\d\.\d\d s +CommandFailed: .*…", table[7])
    assert re.match(r"third +completed +\d\.\d\d s +2", table[8])


def test_the_table_says_what_is_waited_for_and_ends_with_what_can_be_said(at_terminal: Open, folder: Path) -> None:
    (folder / "waits.toml").write_text(
        'dsl = "1"\nname = "waits"\nsteps.ask.approval.prompt = "Go?"\nsteps.hear.wait.event = "ci"\n'
        'steps.kid.workflow = { dsl = "1", name = "k", steps = { a = { approval = { prompt = "And?" } } } }\n'
    )
    terminal = at_terminal("run", "waits.toml", "--run-id", "r1")

    assert terminal.end() == 8
    shown = words(terminal.shown)
    for row in ("ask +waiting +.* for an approval", "hear +waiting +.* for the signal ci", "kid .* for its run r1.kid"):
        assert re.search(f"^{row}", shown, re.MULTILINE)
    assert not re.search(r"^a +waiting", shown, re.MULTILINE)  # the child's steps are its own
    assert shown.index("run r1 waiting: 0/3") < shown.index("  smf approve r1 ask\n") < shown.index("go on with:")


def test_case_41_ctrl_c_while_a_run_waits(at_terminal: Open, folder: Path) -> None:
    (folder / "nap.toml").write_text('dsl = "1"\nname = "nap"\nsteps.nap.wait.for = "1h"\n')
    terminal = at_terminal("run", "nap.toml", "--run-id", "r1")
    terminal.read_until("for 1 h 0 min")
    terminal.press(b"\x03")

    assert terminal.end() == 130
    assert "go on with: smf resume r1" in terminal.shown


def test_what_steps_print_stands_above_the_table(at_terminal: Open, folder: Path) -> None:
    (folder / "talks.py").write_text("def f(): print('a word from f [bold]'); return 1")
    (folder / "talk.toml").write_text('dsl = "1"\nname = "talk"\nsteps.a.call = "talks:f"\n')
    terminal = at_terminal("run", "talk.toml")

    assert terminal.end() == 0
    assert "a word from f [bold]\r\n" in terminal.shown


def test_case_40_hostile_data_does_not_reach_the_terminal(at_terminal: Open, folder: Path) -> None:
    hostile_document(folder)
    terminal = at_terminal("run", "loud.json")

    assert terminal.end() == 1
    for sequence in ("\x1b]", "\x1b[2J", "\x9b", "\u202e", "\u2066", "\x07", "\x08", "\x00", "\x7f"):
        assert sequence not in terminal.shown
    assert "[/red][link=http://x]\\x1b]8;;" in terminal.shown


@pytest.fixture
def blocking(folder: Path) -> Path:
    """A document whose step says that it began, and then waits."""
    os.mkfifo(folder / "began")
    os.mkfifo(folder / "gate")
    (folder / "deaf.py").write_text("def block():\n    open('began', 'w').close()\n    open('gate').read()\n")
    (folder / "block.toml").write_text('dsl = "1"\nname = "block"\nsteps.a.call = "deaf:block"\n')
    return folder


def test_case_41_ctrl_c_at_a_terminal(at_terminal: Open, blocking: Path) -> None:
    terminal = at_terminal("run", "block.toml", "--run-id", "r1", "--grace", "50ms")
    (blocking / "began").open().close()
    terminal.press(b"\x03")

    assert terminal.end() == 130
    assert "SIGINT: pausing run r1; once more to leave at once" in terminal.shown
    assert "go on with: smf resume r1" in terminal.shown


def test_case_41_ctrl_c_twice_at_a_terminal_leaves_it_usable(at_terminal: Open, blocking: Path) -> None:
    terminal = at_terminal("run", "block.toml", "--grace", "1h")
    (blocking / "began").open().close()
    terminal.press(b"\x03")
    terminal.read_until("once more to leave at once")
    terminal.press(b"\x03")

    assert terminal.end() == 130
    assert terminal.shown.endswith("\x1b[?25h\r\n")


def test_case_41_a_terminal_that_goes_away_pauses_the_run(
    at_terminal: Open, blocking: Path, smf: Callable[..., object]
) -> None:
    terminal = at_terminal("run", "block.toml", "--run-id", "r1", "--grace", "50ms")
    (blocking / "began").open().close()
    terminal.hang_up()

    assert terminal.process.wait(timeout=60) == 129
    status = smf("status", "r1", "--json").json  # type: ignore[attr-defined]  # see conftest
    assert (status.get("state"), status.get("reason")) == ("paused", "stopped by SIGHUP"), status
