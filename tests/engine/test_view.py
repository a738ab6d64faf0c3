"""What users read of a record and of an error: all that was said, and the place in their own code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from statemachine_flow.engine.outcome import failed
from statemachine_flow.engine.view import event_of
from statemachine_flow.journal import (
    BackedOff,
    Created,
    Data,
    ErrorInfo,
    Failed,
    Reason,
    Record,
    RunCompleted,
    RunStarted,
    StepCompleted,
)
from statemachine_flow.journal.records import encode_data
from statemachine_flow.values import encode_value


def said(kind: str, data: Data) -> dict[str, Any]:
    record = Record(seq=1, kind=kind, at=0, step=None, data=encode_data(data), digest=b"")
    return dict(event_of("r", record).data)


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(encode_value(value))


@pytest.mark.parametrize("value", [0, 0.0, False, "", [], {}, None, 1, "x", {"a": 0}])
def test_an_event_shows_every_value_of_a_user(value: Any) -> None:
    shown = said("step.complete", StepCompleted(output=raw(value), outputs=raw({"o": value})))

    assert shown == {"output": value, "outputs": {"o": value}}
    assert type(shown["output"]) is type(value)
    assert said("run.complete", RunCompleted(outputs=raw({"o": value}))) == {"outputs": {"o": value}}


def test_an_event_leaves_out_what_its_record_does_not_say() -> None:
    error = ErrorInfo("step.failed", "ValueError", "")
    created = Created(workflow="w", version="1", definition="d", inputs=raw({}), steps=1, cwd="/")

    assert said("step.complete", StepCompleted()) == {}
    assert said("step.complete", StepCompleted(blob="b")) == {"blob": "b"}
    assert said("run.start", RunStarted()) == {}
    assert said("run.pause", Reason()) == {}
    assert said("run.pause", Reason(reason="r", by="b")) == {"reason": "r", "by": "b"}
    plain = {"kind": "step.failed", "name": "ValueError", "message": ""}
    assert said("step.fail", Failed(error=error)) == {"error": plain}
    assert said("step.fail", Failed(error=error, optional=True)) == {"error": plain, "optional": True}
    assert said("step.back_off", BackedOff(error=error, due=0)) == {"error": plain, "due": 0}
    assert said("run.create", created) == {
        "workflow": "w", "version": "1", "definition": "d", "inputs": {}, "steps": 1, "cwd": "/",
    }  # fmt: skip


def raises_itself() -> None:
    raise ValueError


def raises_in_the_standard_library() -> None:
    json.loads("{")


def times_out() -> None:
    asyncio.run(asyncio.wait_for(asyncio.sleep(60), 0.001))


@pytest.mark.parametrize("function", [raises_itself, raises_in_the_standard_library, times_out])
def test_the_place_of_an_error_is_the_innermost_line_of_the_users_own_code(function: Callable[[], None]) -> None:
    assert (where_of(function) or "").partition(":")[0] == __file__
    assert (where_of(function) or "").endswith(f"{function.__code__.co_firstlineno + 1} in {function.__name__}")


def test_an_error_that_came_through_no_line_of_the_users_has_no_place() -> None:
    def cause() -> None:
        json.loads("{")

    assert where_of(cause, skip=2) is None


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_a_line_in_an_installed_package_counts_where_there_is_none_of_the_users(folder: str, tmp_path: Path) -> None:
    path = tmp_path / folder / "lib.py"
    names: dict[str, Any] = {}
    exec(compile("def f():\n    raise ValueError\n", str(path), "exec"), names)
    own = "own.py:1 in <lambda>"
    names["g"] = eval(compile("lambda: f()", "own.py", "eval"), names)

    assert (where_of(names["f"], skip=1), where_of(names["g"], skip=1)) == (f"{path}:2 in f", own)


def where_of(function: Callable[[], Any], *, skip: int = 0) -> str | None:
    """The place of the error that `function` raises, without the outermost `skip` lines of its way."""
    try:
        function()
    except Exception as error:  # noqa: BLE001 - whatever it raises
        way = error.__traceback__
        for _ in range(skip):
            assert way is not None
            way = way.tb_next
        found = failed(error.with_traceback(way)).error
        assert found is not None
        return found.where
    raise AssertionError("it raised nothing")
