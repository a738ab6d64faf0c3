"""What plain data is to an expression: the words for its types and its form as text; nothing here reads a document.

Plain data is null, booleans, integers, numbers, texts, lists and mappings. A tuple counts as a list and any
`collections.abc.Mapping` as a mapping, so that a mapping may fetch its values when they are read. Values of other
types pass through an expression untouched: they can be handed on and compared for equality, nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from statemachine_flow.errors import ExpressionError

#: A constant access path: `steps.a.output` is `("steps", "a", "output")`.
Reference = tuple[str, ...]

#: Names that are constants, in the spelling of JSON; Python's own are literals.
CONSTANTS: Final[Mapping[str, Any]] = MappingProxyType({"true": True, "false": False, "null": None})

#: Integers are exact and stay inside 64 bits, the range that every store and reader keeps.
MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**63 - 1

#: What `isinstance` takes for a list, and for what holds other values; builtin types first, for they are told fast.
LIST: Final = (list, tuple)
CONTAINER: Final = (list, tuple, dict, Mapping)
#: Types that hold nothing and cost nothing.
SCALARS: Final = frozenset({type(None), bool, int, float})

_WORDS: Final = {type(None): "null", bool: "a boolean", int: "an integer", float: "a number", str: "a text"}
_NAMES_SHOWN: Final = 8
_NAMES_COMPARED: Final = 1000


def word_for(value: Any) -> str:
    """The type of a value in the language's own words; error messages hold this and never the value.

    Example:
        >>> word_for([1]), word_for(None), word_for(True)
        ('a list', 'null', 'a boolean')
    """
    word = _WORDS.get(type(value))
    if word is not None:
        return word
    if isinstance(value, LIST):
        return "a list"
    if isinstance(value, Mapping):
        return "a mapping"
    return f"a value of type {type(value).__name__}"


def to_text(value: Any) -> str:
    """A value as text: a text as it is, everything else as compact JSON.

    Raises:
        ExpressionError: the value has no JSON form.

    Example:
        >>> to_text("a b"), to_text(None), to_text({"n": [1, 2.5]})
        ('a b', 'null', '{"n":[1,2.5]}')
    """
    return value if isinstance(value, str) else to_json(value)


def to_json(value: Any) -> str:
    """A value as compact JSON, characters outside ASCII as they are; ExpressionError if it has no JSON form."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_mapping_as_dict)
    except RecursionError:
        raise ExpressionError("the value is nested too deep to be written", kind="expression.too_deep") from None
    except (TypeError, ValueError):
        # The codec's own message may quote the value.
        raise ExpressionError(f"{word_for(value)} holds something that JSON cannot express") from None


def _mapping_as_dict(value: Any) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def suggestion(name: str, known: Iterable[Any]) -> str | None:
    """`did you mean 'x'?` if one of the known names is close, a list of some of them if none is, None without any."""
    # Only an error needs it.
    from difflib import get_close_matches  # noqa: PLC0415

    names = []
    for candidate in known:
        if isinstance(candidate, str):
            names.append(candidate)
        if len(names) == _NAMES_COMPARED:
            break
    if close := get_close_matches(name, names, n=1):
        return f"did you mean '{close[0]}'?"
    if not names:
        return None
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    return f"there is {', '.join(sorted(names)[:_NAMES_SHOWN])}{more}"
