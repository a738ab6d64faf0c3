"""Whatever is changed wherever, the rest of the text is as it was, to the byte."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from statemachine_flow.editing import Document
from statemachine_flow.errors import UsageError

#: One line per value, each with a comment of its own, in every way that its format has to write a mapping.
TOML = """\
dsl='1' #0
name  =  "w" #1

# 2
[steps.a]
run = [ 'x' ,"y" ] #3
env = { A="1",B = '2' } #4
description = "d" #5
# 6

[steps.b] #7
needs = ['a'] #8
call = "f" #9
[steps.b.with] #10
text = "t" #11
deep.dotted = 1 #12
list = [
  'a', #13
  "b", #14
]

[outputs] #15
o = "${{ steps.a.output }}" #16
"""

YAML = """\
dsl:  '1' #0
name  :  "w" #1

# 2
steps:
    a:
      run: [ 'x' ,"y" ] #3
      env: { A: "1",B:  '2' } #4
      description: "d" #5
      # 6

    b: #7
      needs: ['a'] #8
      call:   f #9
      with: #10
          text: "t" #11
          deep: {dotted: 1} #12
          list:
          - 'a' #13
          -  b #14

outputs: #15
    o: "${{ steps.a.output }}" #16
"""

SCALARS = st.one_of(st.text("ab :#'\"\\\n{[", max_size=12), st.integers(-9, 9), st.booleans(), st.just("${{ 'q' }}"))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["k", "l m", "no"]), inner, max_size=3),
    max_leaves=4,
)


def paths(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from paths(value, (*path, key))


def at(data: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        data = data[part]
    return data


PLACES = [path for path in paths(Document(YAML).data) if Document(YAML).data and path[:1] != ("dsl",)]
SCALAR_PLACES = [path for path in PLACES if not isinstance(at(Document(YAML).data, path), dict | list)]


@pytest.mark.parametrize("text", [TOML, YAML], ids=["toml", "yaml"])
@settings(max_examples=60, deadline=None)
@given(path=st.sampled_from(SCALAR_PLACES), value=VALUES)
def test_a_changed_scalar_leaves_every_other_line_alone(text: str, path: tuple[Any, ...], value: Any) -> None:
    document = Document(text)
    before = text.splitlines()
    document.set(path, value)

    assert at(document.data, path) == value
    after = document.text.splitlines()
    same_top = next(
        (place for place, (one, two) in enumerate(zip(before, after, strict=False)) if one != two), len(before)
    )
    rest = before[same_top + 1 :]
    assert rest == after[len(after) - len(rest) :]
    for number in range(17):  # nobody's comment is lost, that of the value included
        assert sum(f"#{number}" == line[line.rfind("#") :] or f"# {number}" in line for line in after) >= 1


@pytest.mark.parametrize("text", [TOML, YAML], ids=["toml", "yaml"])
@settings(max_examples=60, deadline=None)
@given(
    path=st.sampled_from([(), *[path for path in PLACES if isinstance(at(Document(YAML).data, path), dict)]]),
    value=VALUES,
)
def test_a_new_value_leaves_every_line_but_that_of_its_brackets_alone(
    text: str, path: tuple[Any, ...], value: Any
) -> None:
    document = Document(text)
    document.set((*path, "new"), value)

    assert at(document.data, path)["new"] == value
    after = document.text.splitlines()
    gone = [line for line in text.splitlines() if line not in after]
    assert len(gone) == ("{" in "".join(gone))


@pytest.mark.parametrize("text", [TOML, YAML], ids=["toml", "yaml"])
@settings(max_examples=60, deadline=None)
@given(chosen=st.lists(st.sampled_from(PLACES), max_size=4), value=VALUES)
def test_many_changes_one_after_the_other_give_the_data_that_was_meant(
    text: str, chosen: list[tuple[Any, ...]], value: Any
) -> None:
    document = Document(text)
    for path in chosen:
        wanted = document.data
        try:
            at(wanted, path[:-1])[path[-1]] = value
        except (KeyError, TypeError, IndexError):
            continue
        try:
            document.set(path, value)
        except UsageError:
            continue
        assert document.data == wanted


@pytest.mark.parametrize("text", [TOML, YAML], ids=["toml", "yaml"])
@pytest.mark.parametrize("path", PLACES, ids=str)
def test_a_deleted_value_takes_nothing_along(text: str, path: tuple[Any, ...]) -> None:
    document = Document(text)
    document.delete(path)

    added = [line for line in difflib.ndiff(text.splitlines(), document.text.splitlines()) if line[0] == "+"]
    assert len(added) <= 1  # what lost an item, or its last one
