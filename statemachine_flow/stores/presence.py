"""Whether the files of a store are still where they were opened: what is committed to others, nobody will find.

That is asked before every commit, so it has to cost next to nothing. As long as the folder is as it was, no file in it
was moved, removed or replaced: any of these changes the folder's own time of change, which nobody can set. So one look
at the folder is enough for most commits. It also leaves the files' times alone: Linux, since 6.13, gives a file whose
times somebody has read a new and finer time at its next write, which makes each sync write the file's inode as well (a
sixth of a step, see `benchmarks/README.md`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Final, final

#: A folder changed that long ago will have another time when it changes again: file systems that count seconds, or two.
_COARSE: Final = 2_500_000_000
#: The same where times are finer, and move on with the ticks of the machine.
_FINE: Final = 50_000_000
_CENTISECOND: Final = 10_000_000

_Identity = tuple[int, int] | None


def identity_of(path: str) -> _Identity:
    """What tells a file from any other that has its name later; None if there is none."""
    try:
        found = os.stat(path, follow_symlinks=False)  # noqa: PTH116 - on the way of commits, and half the price
    except OSError:
        return None
    return found.st_dev, found.st_ino


@final
class Presence:
    """Files of one folder that have to stay where they are.

    Args:
        folder: where they are.
        identities: path of each file -> what it was when it was opened.
    """

    def __init__(self, folder: str, identities: Iterable[tuple[str, _Identity]]) -> None:
        self._folder = folder
        self._identities = tuple(identities)
        #: The folder as it was when every file was in its place, if any change since would show.
        self._settled: tuple[int, int, int] | None = None

    def looks_at_files(self) -> bool:
        """Whether the next look is not at the folder alone, even if it has not changed."""
        return self._settled is None

    def missing(self) -> str | None:
        """A file that is not where it was, or None.

        Example:
            >>> Presence("/", [("/no-such-file", (1, 1))]).missing()
            '/no-such-file'
        """
        try:
            found = os.stat(self._folder)  # noqa: PTH116 - as above
            stamp = found.st_dev, found.st_ino, found.st_ctime_ns
        except OSError:
            stamp = None
        if stamp is not None and stamp == self._settled:
            return None
        # After the stamp was taken: what changes meanwhile makes the next one differ.
        for path, identity in self._identities:
            if identity_of(path) != identity:
                return path
        self._settled = stamp if stamp is not None and _would_show(stamp[-1]) else None
        return None


def _would_show(changed: int) -> bool:
    """Whether a change from now on would give a folder another time than this."""
    step = _FINE if changed % _CENTISECOND else _COARSE
    return time.time_ns() - changed > step
