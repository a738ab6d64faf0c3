"""Collects what is wrong with one document, each problem with its place in the text where there is a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, final

import attrs

from statemachine_flow.compiler.plain import MOST_PROBLEMS
from statemachine_flow.compiler.source import Part, Path, Source, dotted
from statemachine_flow.compiler.suggest import did_you_mean
from statemachine_flow.errors import Problem
from statemachine_flow.model import Finding

_LONGEST_SHOWN: Final = 80
#: Advice costs a comparison with every known name, so only the first problems get it.
_MOST_ADVICE: Final = 20
#: How far behind the beginning of a value its text may begin: at once, or after one or three quotes.
_OPENINGS: Final = (0, 1, 3)


def shown(text: str) -> str:
    r"""A name from a document as messages show it: quoted, shortened, and nothing that a terminal would obey.

    Example:
        >>> shown("a\x1b[2J")
        "'a\\x1b[2J'"
    """
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")


@final
class Problems:
    """The problems of one document, in the order they were found.

    Args:
        source: the document's text; None when the workflow was built in Python.
    """

    def __init__(self, source: Source | None) -> None:
        self.found: list[Problem] = []
        self._source = source
        self._levels: dict[Path, Mapping[str, int]] = {}
        self._advice_left = _MOST_ADVICE

    def add_level(self, path: Path, index: Mapping[str, int]) -> None:
        """Let paths name the steps of a level by id where the document lists them: id -> place in the list."""
        self._levels[path] = index

    def add(
        self, kind: str, message: str, path: Path = (), *, about_key: bool = False, hint: str | None = None
    ) -> None:
        """Note a problem with the value at `path`, or with its key; nothing once `is_full`."""
        if self.is_full:
            return
        if self._source is None:
            self.found.append(Problem(kind=kind, message=message, path=dotted(path), hint=hint))
            return
        of: Part = "key" if about_key else "value"
        self.found.append(self._source.problem(kind, message, self._written(path), of=of, hint=hint))

    def warn(self, kind: str, message: str, path: Path, *, about_key: bool = False, hint: str | None = None) -> None:
        """Note what keeps no workflow from being run, but is hardly meant."""
        if not self.is_full:
            self.add(kind, message, path, about_key=about_key, hint=hint)
            self.found[-1] = attrs.evolve(self.found[-1], severity="warning")

    def add_finding(self, finding: Finding, path: Path = ()) -> None:
        """Note a finding inside the noun at `path`."""
        whole = (*path, *finding.path)
        self.add(finding.kind, finding.message, whole, about_key=finding.about_key, hint=finding.hint)

    def add_in_text(self, finding: Finding, path: Path, text: str, offset: int) -> None:
        """Note a finding at a character of a text, such as an expression.

        Args:
            finding: what is wrong.
            path: where the text stands.
            text: as the document gives it.
            offset: the character, from 0.
        """
        if self.is_full:
            return
        self.add_finding(finding, path)
        problem = self.found[-1]
        position, line = problem.position, problem.source_line
        if position is not None and line is not None:
            for opening in _OPENINGS:
                begin = position.column - 1 + opening
                if line.startswith(text, begin):
                    position = attrs.evolve(position, column=begin + offset + 1)
                    self.found[-1] = attrs.evolve(problem, position=position)
                    return
        # Escapes, folding and block scalars shift columns; then the character is named in words.
        message = f"{problem.message}, at character {offset + 1} of {shown(text)}"
        self.found[-1] = attrs.evolve(problem, message=message)

    @property
    def is_full(self) -> bool:
        """Whether there are as many problems as a report names, so that looking for more is idle."""
        return len(self.found) >= MOST_PROBLEMS

    def advise(self, word: str, known: Iterable[str]) -> str | None:
        """`did_you_mean` for the first problems; nothing after that."""
        if self._advice_left == 0:
            return None
        self._advice_left -= 1
        return did_you_mean(word, known)

    def _written(self, path: Path) -> Path:
        """The path as the document has it, for it may list its steps."""
        written: Path = ()
        for end, part in enumerate(path):
            index = self._levels.get(path[:end])
            if index is not None and part in index and self._is_list(written):
                part = index[str(part)]  # noqa: PLW2901 - the same place, named as the document does
            written = (*written, part)
        return written

    def _is_list(self, path: Path) -> bool:
        # An unknown path gives the position of its known part, so only a list has a place of its own for 0.
        source = self._source
        return source is not None and source.position((*path, 0)) != source.position(path)
