"""Which names lead to a function, what a changed function looks like, and how a function is named."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow.functions import FunctionError, Functions, code_digest, name_of

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules into a folder on the Python path, and forgets them at the end."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(path: str, text: str) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def refused(functions: Functions, name: str) -> FunctionError:
    with pytest.raises(FunctionError) as caught:
        functions.resolve(name)
    assert (caught.value.kind, caught.value.exit_code) == ("definition.callable", 3)
    return caught.value


# --- names


def test_a_registered_function_is_found_by_its_name() -> None:
    functions = Functions({"one": len})
    functions.register("two.three", max)
    assert (functions.resolve("one"), functions.resolve("two.three")) == (len, max)


def test_a_later_registration_replaces_an_earlier_one() -> None:
    functions = Functions({"one": len})
    functions.register("one", max)
    assert functions.resolve("one") is max


def test_a_function_that_counts_as_false_is_one_all_the_same() -> None:
    class Empty:
        def __len__(self) -> int:
            return 0

        def __call__(self) -> int:
            return 1

    empty = Empty()
    assert Functions({"empty": empty}).resolve("empty") is empty


def test_an_unknown_name_is_told_with_the_names_there_are() -> None:
    error = refused(Functions({"one": len, "two": len}), "three")
    assert "'three'" in error.message
    assert "one, two" in error.message


def test_a_module_is_imported_on_first_use_and_kept(write: Write) -> None:
    write("kit/__init__.py", "")
    write("kit/tools.py", "def work():\n    return 'worked'\n\nclass Maker:\n    pass\n")
    functions = Functions()
    assert "kit.tools" not in sys.modules
    assert functions.resolve("kit.tools:work")() == "worked"
    assert functions.resolve("kit.tools:work") is functions.resolve("kit.tools:work")
    assert isinstance(functions.resolve("kit.tools:Maker")(), sys.modules["kit.tools"].Maker)


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "builtins:eval",
        "subprocess:run",
        "os.path:join",
        "importlib:import_module",
        "sys:exit",
        "json:dumps",
    ],
)
def test_case_22_the_standard_library_is_refused(name: str) -> None:
    assert "standard library" in refused(Functions(), name).message


@pytest.mark.parametrize(
    "name", ["kit:_secret", "_kit:work", "kit._inner:work", "kit:__import__", "kit.tools:__class__"]
)
def test_case_22_private_names_are_refused_before_anything_is_imported(name: str, write: Write) -> None:
    write("kit/__init__.py", "raise SystemExit('imported')")
    assert "private" in refused(Functions(), name).message
    assert "private" in refused(Functions(allow=["*"]), name).message


@pytest.mark.parametrize(
    ("allow", "name", "allowed"),
    [
        (["kit.*:*"], "kit.tools:work", True),
        (["kit.tools:work"], "kit.tools:work", True),
        (["kit.*:*"], "kit:work", False),
        (["kit:*"], "kit.tools:work", False),
        (["KIT.*:*"], "kit.tools:work", False),
        ([], "kit.tools:work", False),
        (["other:*", "kit*"], "kit.tools:work", True),
    ],
)
def test_an_allow_list_decides_by_pattern(write: Write, allow: list[str], name: str, allowed: bool) -> None:
    write("kit/__init__.py", "def work():\n    pass\n")
    write("kit/tools.py", "def work():\n    pass\n")
    if allowed:
        assert callable(Functions(allow=allow).resolve(name))
    else:
        assert "not among the allowed" in refused(Functions(allow=allow), name).message
        assert "kit" not in sys.modules


def test_an_allow_list_may_name_the_standard_library() -> None:
    assert Functions(allow=["math:sqrt"]).resolve("math:sqrt")(9) == 3.0


def test_registered_functions_need_no_allowance() -> None:
    assert Functions({"os:system": len}, allow=[]).resolve("os:system") is len


@pytest.mark.parametrize(
    ("text", "name", "word"),
    [
        (None, "absent:work", "cannot be imported"),
        (None, "absent.deep.er:work", "cannot be imported"),
        ("", "kit:work", "no function 'work'"),
        ("work = 3\n", "kit:work", "no function 'work'"),
        ("raise RuntimeError('at import')\n", "kit:work", "RuntimeError: at import"),
        ("def work(:\n", "kit:work", "SyntaxError"),
        ("import absent_thing\n", "kit:work", "absent_thing"),
        ("1/0\n", "kit:work", "ZeroDivisionError"),
        ("import sys\nsys.exit(0)\n", "kit:work", "SystemExit"),
    ],
)
def test_a_name_that_leads_nowhere_is_told_with_the_reason(
    write: Write, text: str | None, name: str, word: str
) -> None:
    if text is not None:
        write("kit.py", text)
    assert word in refused(Functions(), name).message


def test_a_module_that_appears_later_is_found_then(write: Write) -> None:
    functions = Functions()
    refused(functions, "kit:work")
    write("kit.py", "def work():\n    return 1\n")
    assert functions.resolve("kit:work")() == 1


def test_what_a_workflow_brings_comes_first_and_stays_out_of_the_registry() -> None:
    functions = Functions({"a": len, "b": max})
    below = functions.over({"a": min, "own": sum})
    functions.register("b", abs)

    assert [below.resolve(name) for name in ("a", "b", "own")] == [min, abs, sum]
    assert functions.resolve("a") is len
    refused(functions, "own")
    refused(Functions({"x": len}, allow=[]).over({"x": min}), "math:sqrt")


# --- digests


def test_the_digest_follows_the_text_of_a_function(write: Write) -> None:
    digests = []
    for text in ("return 1", "return 1", "return 2", "# a remark\n    return 1"):
        write("kit.py", f"def work():\n    {text}\n")
        module = importlib.import_module("kit") if "kit" not in sys.modules else importlib.reload(sys.modules["kit"])
        digests.append(code_digest(module.work))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_change_elsewhere_in_the_module_is_no_change(write: Write) -> None:
    write("kit.py", "def work():\n    return 1\n")
    module = importlib.import_module("kit")
    before = code_digest(module.work)
    write("kit.py", "import os\n\ndef other():\n    return 2\n\ndef work():\n    return 1\n")
    assert code_digest(importlib.reload(module).work) == before


@pytest.mark.parametrize(
    "text", ["def work():\n    return (1,\n", "def work(:\n", "\tdef work():\n  return\n", "'''", "", "x = [\n"]
)
def test_a_file_that_was_broken_since_its_import_still_gives_a_digest(write: Write, text: str) -> None:
    write("kit.py", "# a line\n# a line\n\ndef work():\n    return 1\n")
    module = importlib.import_module("kit")
    write("kit.py", text)
    assert len(code_digest(module.work)) == 16


@pytest.mark.parametrize(
    "function", [len, functools.partial(int, base=2), int, type("Caller", (), {"__call__": lambda self: 1})()]
)
def test_what_has_no_source_has_a_digest_of_its_name(function: Any) -> None:
    assert code_digest(function) == code_digest(function)
    assert len(code_digest(function)) == 16


# --- names of functions


def module_level() -> None:
    pass


class Holder:
    def method(self) -> None:
        pass


def test_a_function_is_named_by_import_where_that_gives_it_back(write: Write) -> None:
    write("kit.py", "def work():\n    pass\n\nalias = work\n")
    module = importlib.import_module("kit")
    assert name_of(module.work) == "kit:work"
    assert name_of(module.alias) == "kit:work"


def test_what_importing_would_not_give_back_has_no_name(write: Write) -> None:
    write("kit.py", "def work():\n    pass\n\nold = work\n\ndef work():\n    pass\n")
    module = importlib.import_module("kit")

    def nested() -> None:
        pass

    unnamed: list[Any] = [
        lambda: 1,
        nested,
        Holder.method,
        Holder().method,
        functools.partial(len),
        Holder(),
        module.old,
    ]
    for function in unnamed:
        assert name_of(function) is None
