"""What the items of a loop are, what they are called, and how long a duration is; nothing here changes a run."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions import Template
from tests.reference.nodes import Error, Node

_UNITS: Final = {"w": 604_800_000_000, "d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000}
_AMOUNT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[wdhms])")
_ESCAPED: Final = re.compile(r"[%\[\]\x00-\x1f\x7f-\x9f]")
_MOST_ITEMS: Final = 10_000


class LoopError(Exception):
    """The items of a loop are not as they must be."""

    def __init__(self, error: Error) -> None:
        super().__init__(error)
        self.error = error


def microseconds(duration: Any) -> int:
    """How long a duration is; a number counts seconds."""
    if isinstance(duration, int | float):
        return round(duration * 1_000_000)
    if not re.fullmatch(rf"({_AMOUNT.pattern})+", duration):
        raise ExpressionError("no duration", kind="expression.type")
    return round(sum(float(n) * (1000 if unit == "ms" else _UNITS[unit]) for n, unit in _AMOUNT.findall(duration)))


def render(value: Any, names: Mapping[str, Any]) -> Any:
    """A value with its placeholders filled in."""
    template, problems = Template.parse(value)
    assert not problems, problems
    return template.render(names)


def text_form(value: Any) -> str:
    """What a value is in a text: itself, or compact JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def escaped(key: str) -> str:
    """A key of an item as its path has it."""
    return _ESCAPED.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), key)


def items_of(node: Node, names: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The key of each item and what its expressions read.

    Raises:
        ExpressionError: an expression failed.
        LoopError: it is no list, or two keys are the same.
    """
    step = node.step
    if "matrix" in step:
        keyed = _combinations(step["matrix"])
    else:
        loop = step["for_each"]
        items = render(loop["items"], names)
        if not isinstance(items, list):
            raise LoopError(Error("expression.type", None))
        if len(items) > _MOST_ITEMS:
            raise LoopError(Error("step.items", None))
        given = [{loop.get("as", "item"): item, "index": index} for index, item in enumerate(items)]
        key = loop.get("key")
        keyed = [
            (str(each["index"]) if key is None else text_form(render(key, {**names, **each})), each) for each in given
        ]
    if len({key for key, _ in keyed}) < len(keyed):
        raise LoopError(Error("step.items", None))
    return [(escaped(key), variables) for key, variables in keyed]


def _combinations(matrix: Mapping[str, list[Any]]) -> list[tuple[str, dict[str, Any]]]:
    rows = [dict(zip(matrix, values, strict=True)) for values in itertools.product(*matrix.values())]
    return [(",".join(map(text_form, row.values())), {"matrix": row, "index": index}) for index, row in enumerate(rows)]


def allowance(step: Mapping[str, Any], count: int) -> int:
    """How many of so many items may fail."""
    given: int | str = step.get("for_each", {}).get("max_failures", 0)
    if isinstance(given, int):
        return given
    # A share is exact in hundredths of whatever it is written in: 7.5% of 40 are 3, without a rounding of its own.
    whole, _, fraction = given.removesuffix("%").partition(".")
    return int(count * int(whole + fraction) // (100 * 10 ** len(fraction)))


def first_output(node: Node, output: Any, outputs: Any) -> Any:
    """What `next` as a mapping compares with its keys."""
    if node.step.get("outputs") and isinstance(outputs, Mapping):
        return outputs[next(iter(node.step["outputs"]))]
    if isinstance(output, Mapping) and output:
        return output[next(iter(output))]
    return output
