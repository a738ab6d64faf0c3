"""The small parts between values and text: escaping, columns, times, problems."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import re
import unicodedata
from typing import Any

import click
import pytest
from hypothesis import given, strategies as st

from statemachine_flow.cli import output, times
from statemachine_flow.cli.options import DURATION, Duration
from statemachine_flow.cli.problems import problem_text
from statemachine_flow.errors import Position, Problem, UsageError
from statemachine_flow.views.escape import sanitize_lines

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))
NOON = dt.datetime(2026, 11, 21, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))

# --- output


@given(ANY_TEXT)
def test_sanitized_text_is_one_harmless_line(text: str) -> None:
    safe = output.sanitize(text)

    safe.encode()
    assert [c for c in safe if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")] == []
    assert [
        c
        for c in safe
        if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    ] == []
    assert output.sanitize(safe) == safe


def test_nothing_that_only_formats_is_shown_as_it_is() -> None:
    """The table of the module is Unicode's own."""
    formats = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) == "Cf"]

    assert [f"{ord(c):04x}" for c in formats if c in output.sanitize(f"a{c}b")] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pay\u200broll", "pay\\u200broll"),  # a space of no width
        ("soft\u00adhyphen", "soft\\xadhyphen"),
        ("word\u2060joiner", "word\\u2060joiner"),
        ("\ufeffmark", "\\ufeffmark"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("fil\u3164ler", "fil\\u3164ler"),
        ("over\u202eride", "over\\u202eride"),
        ("ad\u200dmin", "ad\\u200dmin"),
        ("ad\u200c\u200dmin", "ad\\u200c\\u200dmin"),
        ("\u0600\u200d\u0915", "\\u0600\\u200d\u0915"),
        ("\u200dstart", "\\u200dstart"),
        ("end\U0001f469\u200d", "end\U0001f469\\u200d"),
        # What people write: a family, a heart on fire, a flag of rainbows, Persian, Hindi.
        *((text, text) for text in ("\U0001f469\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f\u200d\U0001f525")),
        *(
            (text, text)
            for text in ("\U0001f3f3\ufe0f\u200d\U0001f308", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645")
        ),
        *((text, text) for text in ("\u0915\u094d\u200d\u0937", "caf\u00e9 \u65e5\u672c")),
    ],
)
def test_what_nobody_sees_is_shown_and_what_people_write_stays(text: str, shown: str) -> None:
    assert output.sanitize(text) == sanitize_lines(text) == shown
    assert output.sanitize(shown) == shown


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_harmless_text_is_left_as_it_is(text: str) -> None:
    assert output.sanitize(text) == text


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.binary(), st.lists))
def test_json_is_ascii_and_valid(value: Any) -> None:
    text = output.to_json(value)

    assert text.isascii()
    assert "\n" not in text
    json.loads(text, parse_constant=pytest.fail)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("env", "stream", "coloured"),
    [
        ({}, io.StringIO(), False),
        ({}, Terminal(), True),
        ({"TERM": "dumb"}, Terminal(), False),
        ({"NO_COLOR": "1"}, Terminal(), False),
        ({"NO_COLOR": ""}, Terminal(), True),
        ({"FORCE_COLOR": "1"}, io.StringIO(), True),
        ({"FORCE_COLOR": "0"}, io.StringIO(), False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, Terminal(), False),
    ],
)
def test_colours_follow_the_terminal_and_the_environment(
    env: dict[str, str], stream: io.StringIO, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    assert (output.paint("x", "red", stream) != "x") == coloured


@pytest.mark.parametrize(
    ("state", "code"),
    [("completed", 32), ("failed", 31), ("cancelled", 31), ("running", 34), ("paused", 33), ("pending", None)],
)
def test_states_have_their_colours(state: str, code: int | None) -> None:
    shown = output.paint_state(state, stream=Terminal())

    assert shown == (state if code is None else f"\x1b[{code}m{state}\x1b[0m")


# --- times


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", "2026-11-21T10:00+02:00"),
        ("1d", "2026-11-20T12:00+02:00"),
        ("1h30m", "2026-11-21T10:30+02:00"),
        ("today", "2026-11-21T00:00+02:00"),
        ("yesterday", "2026-11-20T00:00+02:00"),
        ("2026-11-01", "2026-11-01T00:00+02:00"),
        ("2026-11-01T08:30", "2026-11-01T08:30+02:00"),
        ("2026-11-01 08:30:15", "2026-11-01T08:30:15+02:00"),
        ("2026-11-01T08:30Z", "2026-11-01T08:30+00:00"),
    ],
)
def test_a_time_in_the_past(text: str, moment: str) -> None:
    assert times.parse_since(text, NOON) == dt.datetime.fromisoformat(moment).timestamp() * 1e6


@given(st.text(max_size=12) | st.from_regex(r"[0-9T:+-]{1,20}", fullmatch=True))
def test_any_other_text_is_refused_in_words(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert isinstance(times.parse_since(text, NOON), int)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("1.5", 1.5), ("15s", 15), ("1h30m", 5400), ("500ms", 0.5)])
def test_a_duration_option(text: str, seconds: float) -> None:
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e9", "-1", "soon", "9" * 30, "\u0661"])
def test_a_wrong_duration_option(text: str) -> None:
    with pytest.raises(click.BadParameter):
        DURATION.convert(text, None, None)


def test_a_duration_option_that_is_too_short() -> None:
    assert Duration(1).convert("1s", None, None) == 1
    with pytest.raises(click.BadParameter, match="'999ms' is shorter than 1 s"):
        Duration(1).convert("999ms", None, None)


@given(st.floats(0, 1e9))
def test_spans_and_ages_are_short(seconds: float) -> None:
    assert re.fullmatch(r"\d+(\.\d+)? (s|h|min)( \d+ (s|min))?", times.span(seconds))
    assert re.fullmatch(r"now|\d+ (s|min|h|d) ago", times.ago(seconds))


# --- problems


def problem(line: str, column: int) -> list[str]:
    position = Position("f.toml", 7, column)
    return problem_text(
        Problem(kind="definition.type", message="m", position=position, source_line=line, hint="do it")
    ).splitlines()


@pytest.mark.parametrize(
    ("line", "column", "shown", "caret"),
    [
        ("a = 1", 5, "a = 1", 4),
        ("\ta = 1", 6, " a = 1", 5),
        ("\x1b\x1ba", 3, "\\x1b\\x1ba", 8),
        ("漢字 = 1", 6, "漢字 = 1", 7),
        ("e\u0301 = 1", 6, "e\u0301 = 1", 4),
        ("", 1, "", 0),
        ("x" * 500 + "!", 501, "..." + "x" * 60 + "!", 63),
        ("!" + "x" * 500, 1, "!" + "x" * 56 + "...", 0),
    ],
)
def test_the_caret_stands_below_its_character(line: str, column: int, shown: str, caret: int) -> None:
    assert problem(line, column) == [
        f"f.toml:7:{column}: error[definition.type]: m",
        f"7 | {shown}".rstrip() if not shown else f"7 | {shown}",
        f"  | {' ' * caret}^",
        "  = do it",
    ]
