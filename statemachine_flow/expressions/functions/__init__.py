"""The table of functions that expressions may call: pure, bounded, typed, each with a tested example.

Nothing outside `FUNCTIONS` can be called. There are no regular expressions, no clock and no randomness, on purpose:
an expression gives the same result, in bounded time, whenever a run is resumed.

Layout:
    table     `Function`, kinds of parameters, registration by decoration
    general   any value: default, len, str, bool, json ...
    numbers   int, float, abs, round
    texts     lower, split, join, lines ...
    lists     lists and mappings: any, all, sum, sorted, keys ...
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from statemachine_flow.expressions.functions import general, lists, numbers, texts
from statemachine_flow.expressions.functions.table import Function

#: Every function by its name, in the order of the reference.
FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType(
    {**general.FUNCTIONS, **numbers.FUNCTIONS, **texts.FUNCTIONS, **lists.FUNCTIONS}
)

__all__ = ["FUNCTIONS", "Function"]
