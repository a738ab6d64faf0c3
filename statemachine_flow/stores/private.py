"""Files and folders for their owner alone: a umask can take the owner's own rights as well, so modes are set twice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

FILE: Final = 0o600
FOLDER: Final = 0o700


def make_private(handle: int) -> None:
    """Give a file that was just made the mode it was made with, whatever the umask took of it."""
    if os.name == "posix":
        os.fchmod(handle, FILE)


def make_folder(folder: Path, *, exist_ok: bool = False) -> None:
    """Make a folder with that mode; one that is there keeps its own.

    Args:
        folder: the folder above it is there.
        exist_ok: whether it may be there.

    Raises:
        OSError: it cannot be made.
    """
    try:
        folder.mkdir(mode=FOLDER)
    except FileExistsError:
        if not exist_ok or not folder.is_dir():
            raise
    else:
        folder.chmod(FOLDER)
