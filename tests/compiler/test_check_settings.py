"""What single steps and inputs say beside their expressions: loops, delivery, waits, schemas, secrets."""

from __future__ import annotations

from typing import Any

import pytest

from statemachine_flow.compiler import check
from statemachine_flow.model import Definition, ForEach, Step
from statemachine_flow.steps.call import Call
from tests.compiler.meaning import told

NUMBERS = "[" + ", ".join(map(str, range(101))) + "]"

WRONG = {
    # loops
    "items are a text": (
        "steps.a = { call = 'f', for_each.items = 'a, b' }\n",
        ["definition.type steps.a.for_each.items"],
    ),
    "items are a placeholder and more": (
        "inputs.x = { type = 'array' }\nsteps.a = { call = 'f', for_each.items = '${{ inputs.x }} ' }\n",
        ["definition.type steps.a.for_each.items"],
    ),
    "items are two placeholders": (
        "inputs.x = {}\nsteps.a = { call = 'f', for_each.items = '${{ inputs.x }}${{ inputs.x }}' }\n",
        ["definition.type steps.a.for_each.items"],
    ),
    "items are an escaped placeholder": (
        "steps.a = { call = 'f', for_each.items = '$${{ inputs.x }}' }\n",
        ["definition.type steps.a.for_each.items"],
    ),
    "items are a placeholder that never ends": (
        "steps.a = { call = 'f', for_each.items = '${{ inputs.x' }\n",
        ["expression.syntax steps.a.for_each.items"],
    ),
    **{
        f"items are called {name}": (
            f"steps.a = {{ call = 'f', for_each = {{ items = [1], as = '{name}' }} }}\n",
            ["definition.name steps.a.for_each.as"],
        )
        for name in (
            *("inputs", "steps", "run", "env", "result", "error", "previous", "round", "feedback", "secrets"),
            *("index", "matrix", "attempt", "true", "false", "null", "if", "not", "lambda"),
        )
    },
    "items are called like a part of the result": (
        "steps.a = { run = 'x', for_each = { items = [1], as = 'stdout' } }\n",
        ["definition.name steps.a.for_each.as"],
    ),
    "items are called like those of the loop around": (
        "steps.g = { for_each.items = [1], steps.a = { call = 'f', for_each.items = [2] } }\n",
        ["definition.name steps.g.steps.a.for_each.as"],
    ),
    "items are called like those two loops further out": (
        (
            "[steps.g]\nfor_each = { items = [1], as = 'x' }\n[steps.g.steps.h]\nfor_each.items = [1]\n"
            "steps.a = { call = 'f', for_each = { items = [2], as = 'x' } }\n"
        ),
        ["definition.name steps.g.steps.h.steps.a.for_each.as"],
    ),
    "a list and a matrix": (
        "steps.a = { call = 'f', for_each.items = [1], matrix = { x = [1] } }\n",
        ["definition.verb steps.a.matrix"],
    ),
    "too many combinations": (
        f"steps.a = {{ call = 'f', matrix = {{ x = {NUMBERS}, y = {NUMBERS} }} }}\n",
        ["definition.too_many steps.a.matrix"],
    ),
    "combinations that look alike": (
        "steps.a = { call = 'f', matrix = { x = [1, 2, '1'] } }\n",
        ["definition.duplicate steps.a.matrix.x[2]"],
    ),
    # delivery
    "tried again at most once": (
        "steps.a = { call = 'f', delivery = 'at_most_once', retry.max_attempts = 2 }\n",
        ["definition.range steps.a.retry"],
    ),
    "verify without at_most_once": (
        "steps.a = { call = 'f', verify = 'g' }\n",
        ["definition.range steps.a.verify"],
    ),
    "verify with a private function": (
        "steps.a = { call = 'f', delivery = 'at_most_once', verify = 'm:_g' }\n",
        ["definition.callable steps.a.verify"],
    ),
    "a compensation with a wrong function": (
        "steps.a = { call = 'f', compensate.call = 'g()' }\n",
        ["definition.callable steps.a.compensate.call"],
    ),
    "a handler with a wrong delay": (
        "steps.a.call = 'f'\non_failure.b = { call = 'f', retry.delay = '1h' }\n",
        ["definition.range on_failure.b.retry.delay"],
    ),
    # waits
    "nothing to wait for": ("steps.a.wait = {}\n", ["definition.verb steps.a.wait"]),
    "two things to wait for": ("steps.a.wait = { for = '1s', event = 'e' }\n", ["definition.verb steps.a.wait"]),
    "a timeout without a signal": (
        "steps.a.wait = { for = '1s', timeout = '1s' }\n",
        ["definition.unknown_field steps.a.wait.timeout"],
    ),
    "no duration": ("steps.a.wait.for = '1 hour'\n", ["definition.range steps.a.wait.for"]),
    "no time at all": ("steps.a.wait.for = '0s'\n", ["definition.range steps.a.wait.for"]),
    "a moment without an offset": (
        "steps.a.wait.until = '2030-01-01T00:00:00'\n",
        ["definition.range steps.a.wait.until"],
    ),
    "a day": ("steps.a.wait.until = '2030-01-01'\n", ["definition.range steps.a.wait.until"]),
    "no moment": ("steps.a.wait.until = 'tomorrow'\n", ["definition.range steps.a.wait.until"]),
    "no day of the calendar": (
        "steps.a.wait.until = '2030-02-30T00:00:00Z'\n",
        ["definition.range steps.a.wait.until"],
    ),
    # approvals
    "a deadline that chooses nothing": (
        "steps.a.approval = { prompt = '?', deadline = { after = '1d', then = 'maybe' } }\n",
        ["definition.range steps.a.approval.deadline.then"],
    ),
    "a field of a form with a default of another type": (
        "steps.a.approval = { prompt = '?', form = { n = { type = 'integer', default = '1' } } }\n",
        ["definition.type steps.a.approval.form.n.default"],
    ),
    # schemas
    "a schema of no type": (
        "steps.a = { call = 'f', output_schema.type = 'strnig' }\n",
        ["definition.schema steps.a.output_schema.type"],
    ),
    "a schema that is wrong inside": (
        "steps.a = { call = 'f', output_schema.properties.x = { minimum = 'one' } }\n",
        ["definition.schema steps.a.output_schema.properties.x.minimum"],
    ),
    "a pattern that is none": (
        "steps.a = { call = 'f', output_schema.pattern = '(' }\n",
        ["definition.schema steps.a.output_schema.pattern"],
    ),
    "a schema from elsewhere": (
        'steps.a = { call = "f", output_schema.items = { "$ref" = "https://example.com/a.json" } }\n',
        ["definition.schema steps.a.output_schema.items.$ref"],
    ),
    "a schema from a file": (
        'steps.a = { call = "f", output_schema = { "$ref" = "other.json#/x" } }\n',
        ["definition.schema steps.a.output_schema.$ref"],
    ),
    "a schema that leads nowhere": (
        'steps.a = { call = "f", output_schema = { "$ref" = "#/$defs/x", "$defs" = { y = {} } } }\n',
        ["definition.schema steps.a.output_schema.$ref"],
    ),
    # inputs
    "a secret number": (
        "inputs.x = { type = 'integer', secret = true }\nsteps.a.call = 'f'\n",
        ["definition.range inputs.x.type"],
    ),
    "a secret that stands in the document": (
        "inputs.x = { secret = true, default = 'a', enum = ['a'] }\nsteps.a.call = 'f'\n",
        ["definition.range inputs.x.default", "definition.range inputs.x.enum"],
    ),
    "a default of another type in an inline workflow": (
        (
            "[steps.a.workflow]\ndsl = '1'\nname = 'i'\n"
            "inputs.n = { type = 'integer', default = 'x' }\nsteps.b.call = 'f'\n"
        ),
        ["definition.type steps.a.workflow.inputs.n.default"],
    ),
}


def dotted(path: str) -> str:
    """As paths are shown: a key with a dollar sign stands in brackets."""
    return path.replace(".$ref", '["$ref"]')


@pytest.mark.parametrize(("body", "expected"), WRONG.values(), ids=WRONG)
def test_what_makes_no_sense_is_told_with_its_path(body: str, expected: list[str]) -> None:
    assert told(body) == list(map(dotted, expected))


RIGHT = {
    "lists": "steps.a = { call = 'f', for_each.items = ['a', '${{ run.id }}', 3] }\n",
    "no items": "steps.a = { call = 'f', for_each.items = [] }\n",
    "braces in a placeholder": "steps.a = { call = 'f', for_each.items = \"${{ values({'a': '}}'}) }}\" }\n",
    "shares": """
        steps.a = { call = 'f', for_each = { items = [1], max_failures = '100%' } }
        steps.b = { call = 'f', for_each = { items = [1], max_failures = '0.5%' } }
        steps.c = { call = 'f', for_each = { items = [1], max_failures = 3 } }
        """,
    "as many combinations as there may be": (
        f"steps.a = {{ call = 'f', matrix = {{ x = {NUMBERS[:-5]}], y = {NUMBERS[:-5]}] }} }}\n"
    ),
    "placeholders are no part of a matrix": "steps.a = { call = 'f', matrix = { x = ['${{ nothing }}'] } }\n",
    "at most once": "steps.a = { call = 'f', delivery = 'at_most_once', verify = 'm:g' }\n",
    "a default is not for steps that run at most once": """
        defaults.retry.max_attempts = 3
        steps.a = { call = 'f', delivery = 'at_most_once' }
        """,
    "waits": """
        inputs.s = {}
        steps.a.wait.for = '1h30m'
        steps.b.wait.for = '${{ inputs.s }}'
        steps.c.wait.until = '2030-01-01T00:00:00+01:00'
        steps.d.wait.until = '2030-01-01T00:00:00Z'
        steps.e.wait.until = '${{ inputs.s }}'
        steps.f.wait = { event = 'e', key = 'k', timeout = '1h', then = 'complete' }
        """,
    "schemas": """
        steps.a = { call = 'f', output_schema = { type = 'object', required = ['x'] } }
        steps.b = { call = 'f', output_schema = { "$ref" = '#/$defs/x', "$defs" = { x = { "$ref" = '#' } } } }
        steps.d = { call = 'f', output_schema = { properties = { "$ref" = { type = 'string' } } } }
        steps.e = { call = 'f', output_schema = { const = { "$ref" = 'x.json' } } }
        [steps.c]
        call = 'f'
        [steps.c.output_schema]
        "$schema" = 'http://json-schema.org/draft-04/schema#'
        minimum = 1
        exclusiveMinimum = true
        """,
    "a secret": "inputs.x = { secret = true }\nsteps.a.call = 'f'\n",
    "an optional secret": "inputs.x = { secret = true, required = false }\nsteps.a.call = 'f'\n",
}


@pytest.mark.parametrize("body", RIGHT.values(), ids=RIGHT)
def test_what_makes_sense_is_no_problem(body: str) -> None:
    assert told(body) == []


def test_a_list_of_more_items_than_a_loop_may_have_is_refused() -> None:
    step = Step(id="a", verb=Call(call="f"), for_each=ForEach(items=tuple(range(10_001))))

    (problem,) = check(Definition(name="w", steps=(step,)))
    assert (problem.kind, problem.path) == ("definition.too_many", "steps.a.for_each.items")


def test_nothing_is_compensated_in_handlers_and_compensations() -> None:
    """The reader refuses this already; a workflow built in Python may hold it."""
    undo = Step(id="compensate", verb=Call(call="g"))
    twice = Step(id="a", verb=Call(call="f"), compensate=Step(id="compensate", verb=Call(call="g"), compensate=undo))
    handler = Step(id="b", verb=Call(call="f"), compensate=undo)

    problems = check(Definition(name="w", steps=(twice,), finally_=(handler,)))
    assert [(problem.kind, problem.path) for problem in problems] == [
        ("definition.unknown_field", "steps.a.compensate.compensate"),
        ("definition.unknown_field", "finally.b.compensate"),
    ]


def test_a_schema_as_deep_as_no_document_is_refused_and_not_followed() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5_000):
        schema = {"items": schema}

    (problem,) = check(Definition(name="w", steps=(Step(id="a", verb=Call(call="f"), output_schema=schema),)))
    assert (problem.kind, problem.message) == ("definition.schema", "the schema is nested too deep")
