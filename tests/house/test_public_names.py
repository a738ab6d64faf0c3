"""The public surface: what `statemachine_flow` exports, and where it comes from."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import statemachine_flow

#: Every module of the package; a `__main__` runs the command line when it is imported.
MODULES = [
    "statemachine_flow",
    *(
        found.name
        for found in pkgutil.walk_packages(statemachine_flow.__path__, "statemachine_flow.")
        if not found.name.endswith("__main__")
    ),
]


def exports(module: str) -> list[str]:
    return list(getattr(importlib.import_module(module), "__all__", ()))


PUBLIC = exports("statemachine_flow")


def test_the_package_has_an_export_list() -> None:
    assert PUBLIC


@pytest.mark.parametrize("module", MODULES)
def test_an_export_list_is_without_doubles_and_true(module: str) -> None:
    """That it is sorted, ruff checks (RUF022)."""
    names = exports(module)

    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(importlib.import_module(module), name)] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_one_home(name: str) -> None:
    """Another module may export the name only for the same thing."""
    public = getattr(statemachine_flow, name)
    others = [
        module
        for module in MODULES
        if name in exports(module) and getattr(importlib.import_module(module), name) is not public
    ]

    assert others == []


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_class_or_function_is_ours_and_documented(name: str) -> None:
    value = getattr(statemachine_flow, name)

    if inspect.isclass(value) or inspect.isroutine(value):
        assert inspect.getdoc(value)
        assert value.__module__.startswith("statemachine_flow")


def test_every_public_name_is_seen_by_dir() -> None:
    assert set(PUBLIC) <= set(dir(statemachine_flow))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    name = "no_such_name"

    with pytest.raises(AttributeError, match=name):
        getattr(statemachine_flow, name)


def test_importing_the_package_loads_nothing_that_only_some_calls_need() -> None:
    lazy = {"asyncio", "cattrs", "click", "rich", "tomlkit", "yaml"}
    program = f"import sys, statemachine_flow; print(sorted({lazy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "[]"
