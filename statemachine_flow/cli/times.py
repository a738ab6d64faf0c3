"""Times as people write and read them; inside, microseconds UTC and datetimes with a zone."""

from __future__ import annotations

import datetime as dt
from typing import Final

from statemachine_flow.durations import parse_duration
from statemachine_flow.errors import UsageError

_DAYS_BACK: Final = {"today": 0, "yesterday": 1}
_MINUTE: Final = 60
_HOUR: Final = 3600
#: Seconds in a unit, and its name, from large to small.
_UNITS: Final = ((86400, "d"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s"))


def parse_since(text: str, now: dt.datetime) -> int:
    """A moment in the past.

    Args:
        text: a duration back such as `2h`; `today` or `yesterday`, which begin at midnight; or an ISO 8601 date or
            time, in the zone of `now` if it names none.
        now: with a zone.

    Returns:
        Microseconds UTC.

    Raises:
        UsageError: it is none of these.

    Example:
        >>> noon = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
        >>> [noon.timestamp() - parse_since(text, noon) / 1e6 for text in ("2h", "today", "2026-01-02T11:00")]
        [7200.0, 43200.0, 3600.0]
    """
    try:
        if text in _DAYS_BACK:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
            moment = midnight - dt.timedelta(days=_DAYS_BACK[text])
        elif text[:1].isdigit() and text[-1:].isalpha() and text[-1:] != "Z":
            moment = now - dt.timedelta(seconds=parse_duration(text))
        else:
            moment = dt.datetime.fromisoformat(text)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=now.tzinfo)
        return round(moment.timestamp() * 1e6)
    except (ValueError, OverflowError, OSError):
        hint = "such as '2h', '1d', 'today', 'yesterday', '2026-11-20' or '2026-11-20T15:30'"
        raise UsageError(f"{text[:60]!r} is no time", hint=hint) from None


def local_now() -> dt.datetime:
    """Now, in the zone of this machine."""
    return dt.datetime.now().astimezone()


def from_micros(micros: int) -> dt.datetime:
    """Microseconds UTC as a datetime."""
    return dt.datetime.fromtimestamp(micros / 1e6, dt.UTC)


def iso(moment: dt.datetime | None) -> str | None:
    """A moment for `--json`: ISO 8601 in UTC.

    Example:
        >>> iso(dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC))
        '2026-01-02T03:00:00.000000Z'
    """
    if moment is None:
        return None
    return moment.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def clock_time(moment: dt.datetime) -> str:
    """The local time of day."""
    return f"{moment.astimezone():%H:%M:%S}"


def date_and_time(moment: dt.datetime | None) -> str:
    """A moment in local time, to the second; "-" for none."""
    return "-" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def ago(seconds: float) -> str:
    """How long ago something was.

    Example:
        >>> ago(3), ago(150), ago(7300), ago(200_000), ago(-1)
        ('3 s ago', '2 min ago', '2 h ago', '2 d ago', 'now')
    """
    for length, name in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)} {name} ago"
    return "now"


def span(seconds: float | None) -> str:
    """How long something took; "-" where that is not known.

    Example:
        >>> span(0.234), span(75.2), span(7384), span(None)
        ('0.23 s', '1 min 15 s', '2 h 3 min', '-')
    """
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole >= _HOUR:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    if whole >= _MINUTE:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{max(seconds, 0.0):.2f} s" if whole < 10 else f"{seconds:.1f} s"  # noqa: PLR2004 - then tenths will do
