"""What a YAML scalar without quotes means: the core schema of YAML 1.2, and nothing that only 1.1 has."""

from __future__ import annotations

import re
from typing import Final

_CONSTANTS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_STARTS: Final = frozenset("+-.0123456789")
_INTEGER: Final = re.compile(r"([-+]?)([0-9]+)|0o([0-7]+)|0x([0-9a-fA-F]+)")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
#: No base needs more digits for 64 bits.
_MOST_DIGITS: Final = 22


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a scalar.

    Args:
        text: as it stands in the document, without quotes.

    Returns:
        A number may lie outside 64 bits or be no finite one: to refuse it is up to the caller.

    Example:
        >>> [resolve(text) for text in ("on", "no", "1:30", "2024-01-01", "010", "0x1F", "1e3", "true", "~")]
        ['on', 'no', '1:30', '2024-01-01', 10, 31, 1000.0, True, None]
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if match := _INTEGER.fullmatch(text):
        return _integer(*match.groups())
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def _integer(sign: str | None, decimal: str | None, octal: str | None, hexadecimal: str | None) -> int:
    base, digits = (10, decimal) if decimal else (8, octal) if octal else (16, hexadecimal)
    digits = (digits or "").lstrip("0")
    if len(digits) > _MOST_DIGITS:
        # `int` takes only so many digits; this value is out of range as surely as the true one.
        return 10**_MOST_DIGITS
    value = int(digits or "0", base)
    return -value if sign == "-" else value
