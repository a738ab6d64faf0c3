"""Where the texts of a document read a step, and how a text reads when the step has another name."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterator
from typing import Final, final

import attrs

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions.scan import TEXT_LITERAL, placeholder_end

#: What an expression reads, from its root: `("steps", "a")` for `steps.a` and for `steps["a"]`.
Reading = tuple[str, ...]

_TOKEN: Final = re.compile(rf"(?P<text>{TEXT_LITERAL})|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<blank>\s+)|.", re.DOTALL)
_OPENING: Final = re.compile(r"\$?\$\{\{")
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@final
@attrs.frozen
class Spot:
    """One place in a text where a step is named: the name alone."""

    start: int
    end: int
    #: Where the dot before it stands; None for a name in quotes and for one that stands alone.
    dot: int | None = None


@final
@attrs.frozen
class Rewording:
    """A text in which a name is to be another one."""

    old: str
    spots: tuple[Spot, ...]
    name: str
    #: What stands around a name that cannot follow a dot.
    quote: str = "'"

    @property
    def new(self) -> str:
        """The text with the new name."""
        return self._replaced(self.old, self.spots)

    def in_raw(self, raw: str) -> str | None:
        """The same within the text's own spelling, quotes and all; None if the places cannot be told in it."""
        word = self.old[self.spots[0].start : self.spots[0].end]
        places = [match.start() for match in re.finditer(re.escape(word), raw)]
        plain = [match.start() for match in re.finditer(re.escape(word), self.old)]
        if len(places) != len(plain):
            return None
        shifts = {spot: places[plain.index(spot.start)] - spot.start for spot in self.spots}
        moved = [
            Spot(spot.start + shift, spot.end + shift, None if spot.dot is None else spot.dot + shift)
            for spot, shift in shifts.items()
        ]
        if any(spot.dot is not None and raw[spot.dot] != "." for spot in moved):
            return None
        return self._replaced(raw, moved)

    def _replaced(self, text: str, spots: Collection[Spot]) -> str:
        can_be_dotted = _PLAIN.fullmatch(self.name) and not keyword.iskeyword(self.name)
        for spot in sorted(spots, key=lambda spot: spot.start, reverse=True):
            if spot.dot is None or can_be_dotted:
                text = text[: spot.start] + self.name + text[spot.end :]
            else:
                text = f"{text[: spot.dot]}[{self.quote}{self.name}{self.quote}]{text[spot.end :]}"
        return text


def spots_in_expression(text: str, readings: Collection[Reading], offset: int = 0) -> Iterator[Spot]:
    """Where a bare expression reads one of `readings`; each spot is that of the last name.

    Example:
        >>> [spot.start for spot in spots_in_expression("steps.a.output + x.steps.a + 'steps.a'", {("steps", "a")})]
        [6]
    """
    tokens = [match for match in _TOKEN.finditer(text) if match.lastgroup != "blank"]
    for index, token in enumerate(tokens):
        is_root = token.lastgroup == "name" and (index == 0 or tokens[index - 1][0] != ".")
        for reading in readings:
            if is_root and token[0] == reading[0] and (spot := _spot(tokens[index + 1 :], reading[1:])):
                yield attrs.evolve(
                    spot,
                    start=spot.start + offset,
                    end=spot.end + offset,
                    dot=None if spot.dot is None else spot.dot + offset,
                )


def spots_in_template(text: str, readings: Collection[Reading]) -> Iterator[Spot]:
    """The same for the placeholders of a text."""
    position = 0
    while opening := _OPENING.search(text, position):
        position = opening.end()
        if opening[0].startswith("$$"):
            continue
        try:
            end = placeholder_end(text, position)
        except ExpressionError:
            return  # for the compiler to report
        yield from spots_in_expression(text[position:end], readings, position)
        position = end


def _spot(tokens: list[re.Match[str]], names: Reading) -> Spot | None:
    """The place of the last of `names`, if the tokens go on with them."""
    spot = None
    for name in names:
        signs = [token[0] for token in tokens[:3]]
        if signs[:1] == ["."] and signs[1:2] == [name]:
            spot = Spot(tokens[1].start(), tokens[1].end(), tokens[0].start())
            tokens = tokens[2:]
        elif signs[:1] == ["["] and signs[2:] == ["]"] and signs[1][1:-1] == name and tokens[1].lastgroup == "text":
            spot = Spot(tokens[1].start() + 1, tokens[1].end() - 1)
            tokens = tokens[3:]
        else:
            return None
    return spot
