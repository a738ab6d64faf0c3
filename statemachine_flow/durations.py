"""Durations as people write them: `500ms`, `30s`, `1h30m`, `2d`, or ISO 8601 (`PT1H30M`). Inside, seconds."""

from __future__ import annotations

import re
from typing import Final

#: Longer than any wait makes sense; keeps every deadline inside 64 bits of microseconds.
MAX_SECONDS: Final = 3650 * 86400.0

_UNITS: Final = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_PLAIN: Final = re.compile(
    r"(?:(\d+(?:\.\d+)?)w)?(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
_ISO: Final = re.compile(
    r"P(?:(\d+(?:\.\d+)?)W)?(?:(\d+(?:\.\d+)?)D)?(?:T(?=.)(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?)?"
)
_LONGEST_TEXT: Final = 64


def parse_duration(text: str) -> float:
    """Read a duration.

    Args:
        text: units from large to small without blanks (`w d h m s ms`), or ISO 8601 with weeks to seconds.

    Returns:
        Seconds, to the microsecond, above 0 and at most `MAX_SECONDS`.

    Raises:
        ValueError: the text is no duration, or outside the range; the message says which.

    Example:
        >>> parse_duration("1h30m"), parse_duration("500ms"), parse_duration("PT1.5S")
        (5400.0, 0.5, 1.5)
    """
    pattern = _ISO if text.startswith("P") else _PLAIN
    match = pattern.fullmatch(text) if 1 < len(text) <= _LONGEST_TEXT and text.isascii() else None
    if match is None or not any(match.groups()):
        raise ValueError(f"{text[:_LONGEST_TEXT]!r} is not a duration such as '500ms', '30s' or '1h30m'")
    milliseconds = sum(
        float(amount) * factor for amount, factor in zip(match.groups(), _UNITS.values(), strict=False) if amount
    )
    return check_seconds(milliseconds / 1000)


def check_seconds(seconds: float) -> float:
    """`seconds` to the microsecond if it lies above 0 and at most `MAX_SECONDS`; ValueError otherwise."""
    # Finer than any clock here can tell, and what is rounded here reads back as the same number.
    rounded = round(float(seconds), 6)
    if not 0 < rounded <= MAX_SECONDS:
        raise ValueError(f"a duration lies between a microsecond and {MAX_SECONDS / 86400:g} days")
    return rounded


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back as the same number.

    Example:
        >>> format_duration(5400.0), format_duration(0.5), format_duration(0.0005)
        ('1h30m', '500ms', '0.5ms')
    """
    milliseconds = round(seconds * 1000, 3)
    if milliseconds != int(milliseconds):
        # Written as plain decimals: an exponent is not part of the form.
        return f"{milliseconds:.3f}".rstrip("0") + "ms"
    rest, parts = int(milliseconds), []
    for unit, factor in _UNITS.items():
        amount, rest = divmod(rest, factor)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts)
