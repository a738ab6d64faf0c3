"""Finds the places of values in TOML and JSON: a cursor over the tokens of a text that a parser has read.

The parsers of the standard library give data fast and without positions. When a position is needed, the
text is walked a second time, by its tokens alone: what is valid need not be proved again, so a few lines do.
"""

from __future__ import annotations

import re
import sys

import attrs

from statemachine_flow.compiler.plain import MOST_PROBLEMS
from statemachine_flow.compiler.source import Path, Place, Source, quoted
from statemachine_flow.errors import Problem


class LostError(Exception):
    """The text does not go on as the format says; the places found so far stand."""


@attrs.frozen
class Duplicate:
    """A key that was given twice: where both stand, as offsets."""

    path: Path
    first: int
    second: int

    def problem(self, source: Source) -> Problem:
        """Describe it, pointing at the second place and naming both lines."""
        first, second = (source.position_at(offset).line for offset in (self.first, self.second))
        return source.problem_at(
            "definition.duplicate_key",
            f"the key {quoted(str(self.path[-1]))} stands in line {first} and again in line {second}",
            self.second,
            self.path,
            hint="remove or rename one of them",
        )


class Scanner:
    """A cursor over tokens.

    Args:
        text: what to walk.
        tokens: matches one token and the blanks before it; its group 1 is the token alone, empty at the end
            of the text. It must match everywhere.
    """

    def __init__(self, text: str, tokens: re.Pattern[str]) -> None:
        self.root = Place(0, 0)
        self.duplicates: list[Duplicate] = []
        self._matches = tokens.finditer(text)
        #: The token under the cursor (empty at the end), and where it begins.
        self.sign, self.offset = "", 0
        self.take()

    def take(self) -> str:
        """Move to the next token and return the one left behind."""
        taken = self.sign
        match = next(self._matches, None)
        self.sign = match[1] if match else ""
        self.offset = match.start(1) if match else self.offset
        return taken

    def expect(self, token: str) -> None:
        """Move past `token`.

        Raises:
            LostError: something else stands here.
        """
        if self.take() != token:
            raise LostError

    def add(self, parent: Place, path: Path, place: Place) -> None:
        """Keep `place` as the one of `path`, unless that key has one already: then it is a duplicate.

        Raises:
            LostError: nobody will read of more duplicates than there are by now.
        """
        first = parent.children.setdefault(path[-1], place)
        if first is not place:
            self.duplicates.append(Duplicate(path, first.key, place.key))
            if len(self.duplicates) == MOST_PROBLEMS:
                raise LostError

    def too_deep(self, limit: int) -> int:
        """Where the bracket stands that opens level `limit + 1`; 0 if none does."""
        depth = 0
        while self.sign:
            depth += (self.sign in ("[", "{")) - (self.sign in ("]", "}"))
            if depth > limit:
                return self.offset
            self.take()
        return 0

    def too_long_number(self) -> int:
        """Where the first number stands that may have too many digits for `int`; 0 if none does."""
        longest = sys.int_info.str_digits_check_threshold
        while self.sign and (len(self.sign) < longest or self.sign[0] not in "+-0123456789"):
            self.take()
        return self.offset if self.sign else 0
