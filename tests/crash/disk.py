"""A disk that was written to until some moment: what a dead process, or a loss of power, leaves of it.

Knows bytes and nothing of SQLite. A file's writes reach the disk for sure only with its next sync; of those since
then a loss of power keeps none, or any of their sectors.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Literal

import attrs

#: The smallest piece of a disk that is written whole.
SECTOR = 512
#: How often sectors are drawn for each moment.
TEARS = 5

Action = Literal["write", "truncate", "sync", "delete"]
Files = dict[str, bytes]


@attrs.frozen
class Change:
    """What was done to one file."""

    file: str
    action: Action
    #: Of a write: where it begins; of `truncate`: the new size.
    offset: int = 0
    data: bytes = attrs.field(default=b"", repr=False)

    def apply(self, content: bytearray) -> None:
        """Do it to the file's bytes."""
        if self.action == "truncate":
            del content[self.offset :]
            return
        if len(content) < self.offset:
            content.extend(bytes(self.offset - len(content)))
        content[self.offset : self.offset + len(self.data)] = self.data

    def sectors(self) -> Iterator[Change]:
        """The parts of it that reach the disk one without the other."""
        if self.action == "truncate":
            yield self
            return
        begin, end = self.offset, self.offset + len(self.data)
        while begin < end:
            border = min(end, (begin // SECTOR + 1) * SECTOR)
            yield Change(self.file, "write", begin, self.data[begin - self.offset : border - self.offset])
            begin = border


class _File:
    def __init__(self, content: bytes) -> None:
        self.now = bytearray(content)
        self.synced = content
        self.since: list[Change] = []


class Disk:
    """Files, some of whose writes are not synced yet; a deleted file is gone at once.

    Args:
        files: what is there at first, synced.

    Example:
        >>> disk = Disk({"a": b"old"})
        >>> disk.apply(Change("a", "write", 0, b"new"))
        >>> disk.written(), disk.synced()
        ({'a': b'new'}, {'a': b'old'})
        >>> disk.apply(Change("a", "sync"))
        >>> disk.synced()
        {'a': b'new'}
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = {name: _File(content) for name, content in files.items()}

    def apply(self, change: Change) -> None:
        """Let a change happen."""
        if change.action == "delete":
            self._files.pop(change.file, None)
            return
        file = self._files.setdefault(change.file, _File(b""))
        if change.action == "sync":
            file.synced, file.since = bytes(file.now), []
        else:
            change.apply(file.now)
            file.since.append(change)

    def written(self) -> Files:
        """What the death of a process leaves: all that was written."""
        return {name: bytes(file.now) for name, file in self._files.items()}

    def synced(self) -> Files:
        """What a loss of power leaves for sure."""
        return {name: file.synced for name, file in self._files.items()}

    def torn(self, rng: random.Random) -> Files:
        """What it may leave: any sectors of what was written since the last sync."""
        files = {}
        for name, file in self._files.items():
            content = bytearray(file.synced)
            for change in file.since:
                for part in change.sectors():
                    if rng.random() < 0.5:
                        part.apply(content)
            files[name] = bytes(content)
        return files

    def images(self, seed: str) -> Iterator[tuple[str, Files]]:
        """Every image of this moment, with the name of the fault that leaves it."""
        yield "kill", self.written()
        yield "power", self.synced()
        for number in range(TEARS):
            yield f"torn {number}", self.torn(random.Random(f"{seed} {number}"))
