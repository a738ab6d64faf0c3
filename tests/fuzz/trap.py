"""Reading is inert (G21): `python -m tests.fuzz.trap INPUTS SEED` reads hostile bytes with every door watched.

Once the readers are warm, whatever Python reports of imports, of code that runs, of processes, of the network and of
files is a line of output: there must be none, but for the library's own modules, readers of its own nouns, and the
store that is opened.
"""

from __future__ import annotations

import random
import sys
import tempfile
from typing import Any

from tests.fuzz.mutate import mutate
from tests.fuzz.seeds import corpus, documents, made, seeds
from tests.fuzz.targets import TARGETS, small_store

#: Events by the first part of their names; `compile` is not among them: an expression is parsed, and never run.
DOORS = frozenset(
    {
        *("exec", "import", "open", "code", "marshal", "pickle", "ctypes", "sqlite3", "syslog", "webbrowser"),
        *("subprocess", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile"),
        *("pty", "socket", "urllib", "http", "ftplib", "smtplib", "imaplib", "poplib", "nntplib", "telnetlib"),
        *("os.chmod", "os.chown", "os.link", "os.symlink", "os.putenv", "os.kill", "signal.pthread_kill"),
    }
)
#: cattrs makes the reader of each noun when it needs it first, of the fields of our own classes.
READERS = "<cattrs generated structure statemachine_flow."
#: All but what does more than read.
TRAPPED = [name for name in TARGETS if name != "cli_argv"]


class Trap:
    """Counts events while it is armed."""

    def __init__(self) -> None:
        self.is_armed = False
        self.caught: list[str] = []
        #: Made by the test for the store, which is then opened there.
        self.folder = tempfile.gettempdir()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_armed or not (event in DOORS or event.partition(".")[0] in DOORS):
            return
        first = str(arguments[0]) if arguments else ""
        is_ours = event == "import" and first.startswith("statemachine_flow.")
        is_store = event in {"open", "os.chmod"} and first.startswith(self.folder)
        is_reader = event == "exec" and getattr(arguments[0], "co_filename", "").startswith(READERS)
        if not is_ours and not is_store and not is_reader:
            self.caught.append(f"{event} {first[:200]}")


def main(inputs: int, seed: int) -> None:
    """Read so many inputs, and print what was done besides."""
    trap, count = Trap(), 0
    small_store()
    for data in documents(".toml", step=1):  # readers of the nouns of a document are made when the first one is met
        TARGETS["toml"](data)
    for target in TRAPPED:
        rng = random.Random(f"{target} {seed}")
        everything = seeds(target)
        for data in (b"", b"\xff", *made(target)):  # what is loaded once by whoever reads anything
            TARGETS[target](data)
        for number in range(inputs // len(TRAPPED)):
            saved = corpus(target) if number == 0 else [mutate(rng, everything)]
            for data in saved:
                trap.is_armed = True
                try:
                    TARGETS[target](data)
                finally:
                    trap.is_armed = False
                count += 1
                if trap.caught:
                    print(target, trap.caught, data[:200])  # noqa: T201 - it is what this program is for
                    trap.caught.clear()
    print(f"{count} inputs")  # noqa: T201 - as above


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
