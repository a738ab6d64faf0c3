"""Writing definitions: what is written reads back as the same workflow, in every format."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from statemachine_flow.compiler import load_document
from statemachine_flow.compiler.write import document, to_json, to_toml, to_yaml
from statemachine_flow.errors import UsageError
from statemachine_flow.model import Definition, Input, Step
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.run import Run
from tests.strategies.definitions import definitions

WHOLE_WORKFLOWS = settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)


def same(definition: Definition, text: str) -> bool:
    read = load_document(text).definition
    return read == definition and read.content_hash == definition.content_hash


@WHOLE_WORKFLOWS
@given(definitions(null=False))
def test_toml_reads_back_as_the_same_definition(definition: Definition) -> None:
    assert same(definition, to_toml(definition))


@WHOLE_WORKFLOWS
@given(definitions())
def test_yaml_reads_back_as_the_same_definition(definition: Definition) -> None:
    assert same(definition, to_yaml(definition))


@WHOLE_WORKFLOWS
@given(definitions())
def test_json_reads_back_as_the_same_definition(definition: Definition) -> None:
    assert same(definition, to_json(definition))


@WHOLE_WORKFLOWS
@given(definitions())
def test_a_yaml_1_1_reader_sees_the_same_data(definition: Definition) -> None:
    """PyYAML's own loader follows 1.1, where `no` is false and `1:30` is ninety."""
    assert document(definition) == yaml.safe_load(to_yaml(definition))


WORKFLOW = '''
dsl = "1"
name = "review"
timeout = "2h"
defaults.retry = { max_attempts = 3, delay = "2s" }
inputs.repo = {}
inputs.limit = { type = "integer", default = 20 }
[steps]
z = { run = ["git", "-C", "${{ inputs.repo }}", "diff"], outputs = { files = "lines(stdout)" }, description = "Diff." }
[steps.a]
needs = ["z"]
when = 'len(steps.z.outputs.files) > 0'
run = """
set -e
awk '{print}' "$F"
"""
env = { F = "no", LONG = "0123456789012345678901234567890123456789012345678901234567890123456789" }
[outputs]
files = "${{ steps.z.outputs.files }}"
'''

AS_TOML = '''\
dsl = "1"
name = "review"
timeout = "2h"
defaults = {retry = {max_attempts = 3, delay = "2s"}}

[inputs]
repo = {type = "string"}
limit = {type = "integer", default = 20}

[steps.z]
description = "Diff."
run = ["git", "-C", "${{ inputs.repo }}", "diff"]
outputs = {files = "lines(stdout)"}

[steps.a]
needs = ["z"]
when = "len(steps.z.outputs.files) > 0"
run = """
set -e
awk '{print}' "$F"
"""

[steps.a.env]
F = "no"
LONG = "0123456789012345678901234567890123456789012345678901234567890123456789"

[outputs]
files = "${{ steps.z.outputs.files }}"
'''

AS_YAML = """\
dsl: "1"
name: review
timeout: "2h"

defaults:
  retry:
    max_attempts: 3
    delay: "2s"

inputs:
  repo:
    type: string
  limit:
    type: integer
    default: 20

steps:
  z:
    description: Diff.
    run: [git, "-C", "${{ inputs.repo }}", diff]
    outputs:
      files: lines(stdout)

  a:
    needs: [z]
    when: "len(steps.z.outputs.files) > 0"
    run: |
      set -e
      awk '{print}' "$F"
    env:
      F: "no"
      LONG: "0123456789012345678901234567890123456789012345678901234567890123456789"

outputs:
  files: "${{ steps.z.outputs.files }}"
"""


@pytest.mark.parametrize(("write", "expected"), [(to_toml, AS_TOML), (to_yaml, AS_YAML)])
def test_what_is_written_is_laid_out_for_people(write: Callable[[Definition], str], expected: str) -> None:
    definition = load_document(WORKFLOW).definition

    assert write(definition) == expected


NESTED = """\
dsl = "1"
name = "nested"
start = "plan"
compensate = true

[steps.plan]
approval = {prompt = "Go?"}
next = {approve = "work", reject = "end"}

[steps.work]
when = "True"
for_each = {items = [1, 2], as = "n"}
next = "end"

[steps.work.steps.b]
call = "f"

[steps.work.steps.b.compensate]
run = "undo"

[steps.work.steps.a]
needs = ["b"]

[steps.work.steps.a.workflow]
dsl = "1"
name = "inner"

[steps.work.steps.a.workflow.inputs]
x = {type = "string", required = false}

[steps.work.steps.a.workflow.steps.only]
run = "true"

[finally.clean]
run = "rm x"
"""


def test_levels_inside_levels_are_tables_of_their_own() -> None:
    definition = load_document(NESTED).definition

    assert to_toml(definition) == NESTED
    assert same(definition, to_yaml(definition))


def test_the_order_inside_levels_inside_levels_counts() -> None:
    """Of steps, wherever they stand, and of the names of a matrix."""

    def hash_of(text: str) -> str:
        return load_document('dsl = "1"\nname = "w"\n' + text).definition.content_hash

    a, b = 'a.call = "f"', 'b.call = "f"'
    inside = ["[steps.g.steps]", "[finally]", "[steps.c]\nworkflow.name = 'w'\n[steps.c.workflow.steps]"]
    for head in inside:
        rest = '\n[steps.x]\ncall = "f"\n'
        assert hash_of(f"{head}\n{a}\n{b}{rest}") != hash_of(f"{head}\n{b}\n{a}{rest}")
    matrices = ["{ p = [1], q = [2] }", "{ q = [2], p = [1] }"]
    assert len({hash_of(f'[steps.a]\ncall = "f"\nmatrix = {matrix}\n') for matrix in matrices}) == 2


def test_json_keeps_the_order_of_the_other_formats() -> None:
    definition = load_document(WORKFLOW).definition

    written = json.loads(to_json(definition))
    assert list(written) == list(tomllib.loads(to_toml(definition))) == list(yaml.safe_load(to_yaml(definition)))
    assert list(written["steps"]) == ["z", "a"]


def test_short_and_long_steps_keep_their_order_in_toml() -> None:
    """A step that fits on a line would move before those that do not, and the order counts."""
    long = {"text": "x" * 200}
    steps = (Step(id="b", verb=Call(call="f", with_=long)), Step(id="a", verb=Call(call="f")))

    assert same(Definition(name="w", steps=steps), to_toml(Definition(name="w", steps=steps)))


@pytest.mark.parametrize("holder", [{"x": None}, {"x": [{"y": None}]}])
def test_toml_refuses_null_instead_of_changing_it(holder: dict[str, Any]) -> None:
    definition = Definition(name="w", steps=(Step(id="a", verb=Call(call="f", with_=holder)),))

    with pytest.raises(UsageError, match="TOML has no null") as caught:
        to_toml(definition)
    assert caught.value.hint is not None
    assert same(definition, to_yaml(definition))


def test_a_value_that_stands_twice_is_written_twice() -> None:
    shared = {"a": [1, {"b": 2}]}
    step = Step(id="a", verb=Call(call="f", with_={"x": shared, "y": shared}))

    assert same(Definition(name="w", steps=(step,)), to_yaml(Definition(name="w", steps=(step,))))


def test_scripts_with_backslashes_need_no_escapes_in_toml() -> None:
    step = Step(id="a", verb=Run(run='printf "a\\n"\ngrep \\d+\n'))
    definition = Definition(name="w", steps=(step,), inputs={"x": Input()})

    written = to_toml(definition)
    assert "run = '''\nprintf \"a\\n\"\ngrep \\d+\n'''" in written
    assert same(definition, written)
