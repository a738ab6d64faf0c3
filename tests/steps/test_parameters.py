"""What the parameters of functions ask for, and whether `with` fits them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw
import pytest

from statemachine_flow.steps.base import StepContext
from statemachine_flow.steps.parameters import argument_problems, shape_of


def plain(a: int, b: int = 1, *, c: int = 2) -> None: ...
def with_context(a: int, ctx: StepContext) -> None: ...
def by_place(a: int, /, b: int) -> None: ...
def by_place_with_default(a: int = 0, /, b: int = 0) -> None: ...
def anything(a: int, **rest: Any) -> None: ...
def many(*args: int) -> None: ...
def named(connection: Any, a: int) -> None: ...
def annotated(a: int, db: apsw.Connection) -> None: ...
def quoted(a: int, db: "apsw.Connection | None") -> None: ...  # noqa: UP037 - what people write


@pytest.mark.parametrize(
    ("function", "given", "problem"),
    [
        (plain, ["a"], None),
        (plain, ["a", "b", "c"], None),
        (plain, [], "needs 'a', which `with` does not give"),
        (plain, ["a", "bb"], "has no parameter 'bb'; did you mean 'b'?"),
        (with_context, ["a"], None),
        (with_context, ["a", "ctx"], "takes 'ctx' from the engine, and `with` gives it too"),
        (with_context, ["a", "ctxx"], "has no parameter 'ctxx'; there is a"),
        (by_place, ["b"], "needs 'a' by its place, and `with` gives arguments by name"),
        (by_place, ["a", "b"], "has no parameter 'a'; there is b"),
        (by_place_with_default, ["b"], None),
        (anything, ["a", "x", "y"], None),
        (anything, ["x"], "needs 'a', which `with` does not give"),
        (many, [], None),
        (many, ["args"], "has no parameter 'args'"),
        (named, ["a"], "needs 'connection', which `with` does not give"),
        (dict, ["whatever"], None),
        (max, ["x"], None),
    ],
)
def test_arguments_are_held_against_parameters(function: Callable[..., Any], given: list[str], problem: Any) -> None:
    assert argument_problems(function, given) == problem


@pytest.mark.parametrize(("function", "parameter"), [(named, "connection"), (annotated, "db"), (quoted, "db")])
def test_inside_a_transaction_the_engine_gives_the_connection(function: Callable[..., Any], parameter: str) -> None:
    assert shape_of(function).connection == parameter
    assert argument_problems(function, ["a"], transaction=True) is None
    problem = argument_problems(function, ["a", parameter], transaction=True)
    assert problem == f"takes '{parameter}' from the engine, and `with` gives it too"


class NoSignature:
    __signature__ = "nonsense"

    def __call__(self) -> None: ...


def test_what_cannot_be_known_is_no_problem() -> None:
    assert argument_problems(NoSignature(), ["x"]) is None
