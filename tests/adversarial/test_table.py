"""Every adversarial case has a test named after its number: here, beside what it is about, or it is said why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
HERE = Path(__file__).parent.name

#: Group -> the first and the last number of its cases.
GROUPS = {
    "DSL documents": (1, 23),
    "expressions and templates": (24, 35),
    "command line": (36, 45),
    "store files": (46, 62),
    "checkpoints": (63, 70),
    "concurrency and time": (71, 79),
    "subprocess": (80, 87),
    "agents and providers": (88, 94),
    "dashboard": (95, 103),
    "embedding": (104, 110),
}
#: Cases whose tests stand with the suite of what they are about: stores, ownership, values, runs and processes.
ELSEWHERE: dict[int, str] = {
    **dict.fromkeys((*range(46, 63), 74, 75, 78, 79, 107), "stores"),
    67: "values",
    **dict.fromkeys((71, 72), "crash"),
    73: "engine",
    76: "engine",
    77: "engine",
}
#: Cases of parts that are not there yet, and bring their tests.
COMING: dict[int, str] = {
    **dict.fromkeys(range(88, 95), "providers: agents are functions of the embedding program"),
    **dict.fromkeys(range(95, 104), "a dashboard"),
}
_NAME = re.compile(r"def test_(?:\w+_)?case_(\d+)(?:_and_(\d+)|_(\d{2,3}))?_")


def numbers(folder: str) -> set[int]:
    """The cases that tests below a folder are named after."""
    texts = [path.read_text(encoding="utf-8") for path in (TESTS / folder).rglob("test_*.py")]
    return {int(number) for text in texts for found in _NAME.findall(text) for number in found if number}


def test_every_case_has_a_place() -> None:
    every = {number for first, last in GROUPS.values() for number in range(first, last + 1)}
    placed = numbers(HERE) | set(ELSEWHERE) | set(COMING)

    assert every == set(range(1, 111))
    assert every - placed == set()
    assert placed - every == set()


@pytest.mark.parametrize("folder", sorted(set(ELSEWHERE.values())))
def test_what_is_said_to_stand_elsewhere_stands_there(folder: str) -> None:
    said = {number for number, place in ELSEWHERE.items() if place == folder}

    assert said - numbers(folder) == set()


def test_names_are_read_as_they_are_meant() -> None:
    text = "def test_case_07_a(\ndef test_g_case_110_b(\ndef test_case_42_43_what(\ndef test_case_28_and_35_there("

    assert [[number for number in found if number] for found in _NAME.findall(text)] == [
        ["07"],
        ["110"],
        ["42", "43"],
        ["28", "35"],
    ]
