"""What expressions read in loops, groups, states, handlers and compensations."""

from __future__ import annotations

import pytest

from tests.compiler.meaning import hint, told

#: A step that is at rest before any of those below.
FIRST = "steps.first.call = 'f'\n"

WRONG = {
    # groups
    "a step inside a group reads one beside the group": (
        FIRST + "steps.g.steps.a = { call = 'f', when = 'steps.first.output' }\n",
        ["definition.reference steps.g.steps.a.when"],
    ),
    "a step inside a group reads one that comes after the group": (
        "steps.g.steps.a = { call = 'f', when = 'steps.z.output' }\nsteps.z = { call = 'f', needs = ['g'] }\n",
        ["definition.reference steps.g.steps.a.when"],
    ),
    "a step inside a group reads the group": (
        "steps.g.steps.a = { call = 'f', when = 'steps.g.output.b' }\n",
        ["definition.reference steps.g.steps.a.when"],
    ),
    "a step inside a group reads one beside it": (
        "[steps.g]\nsteps.a.call = 'f'\nsteps.b = { call = 'f', when = 'steps.a.output' }\n",
        ["definition.reference steps.g.steps.b.when"],
    ),
    "a step reads one inside a group": (
        "steps.g.steps.a.call = 'f'\nsteps.b = { needs = ['g'], call = 'f', when = 'steps.a.output' }\n",
        ["definition.reference steps.b.when"],
    ),
    "a group's outputs read the group": (
        "[steps.g]\nsteps.a.call = 'f'\noutputs.x = 'steps.g.output'\n",
        ["definition.reference steps.g.outputs.x"],
    ),
    "a group's outputs read a step beside it": (
        FIRST + "[steps.g]\nsteps.a.call = 'f'\noutputs.x = 'steps.first.output'\n",
        ["definition.reference steps.g.outputs.x"],
    ),
    "a group declares its outputs": (
        (
            "[steps.g]\nsteps.a.call = 'f'\noutputs.x = 'result.a'\n"
            "[steps.b]\nneeds = ['g']\ncall = 'f'\nwhen = 'steps.g.outputs.y'\n"
        ),
        ["definition.reference steps.b.when"],
    ),
    "the workflow's outputs read a step inside a group": (
        "steps.g.steps.a.call = 'f'\noutputs.x = '${{ steps.a.output }}'\n",
        ["definition.reference outputs.x"],
    ),
    # states
    "a state reads itself": (
        "start = 'a'\nsteps.a = { call = 'f', when = 'steps.a.output == 1' }\n",
        ["definition.reference steps.a.when"],
    ),
    "a state reads no state": (
        "start = 'a'\nsteps.a = { call = 'f', with = { x = '${{ steps.b.output }}' } }\n",
        ["definition.reference steps.a.with.x"],
    ),
    "a step inside a state reads that state": (
        "start = 'g'\nsteps.g.steps.a = { call = 'f', when = 'steps.g.output.a' }\n",
        ["definition.reference steps.g.steps.a.when"],
    ),
    "a route reads an item": (
        "start = 'a'\n[steps.a]\ncall = 'f'\nfor_each.items = [1]\nnext = [{ when = 'item == 1', goto = 'end' }]\n",
        ["expression.undefined steps.a.next[0].when"],
    ),
    "a route reads what the step does not declare": (
        "start = 'a'\n[steps.a]\nrun = 'x'\nnext = [{ when = 'steps.a.output.code == 1', goto = 'end' }]\n",
        ["definition.reference steps.a.next[0].when"],
    ),
    "a route is an expression already": (
        "start = 'a'\n[steps.a]\nrun = 'x'\nnext = [{ when = '${{ result.ok }}', goto = 'end' }]\n",
        ["expression.syntax steps.a.next[0].when"],
    ),
    # loops
    "item outside a loop": ("steps.a = { call = 'f', when = 'item == 1' }\n", ["expression.undefined steps.a.when"]),
    "item in the loop's own condition": (
        "steps.a = { call = 'f', for_each.items = [1], when = 'item == 1' }\n",
        ["expression.undefined steps.a.when"],
    ),
    "item in the list of items": (
        "steps.a = { call = 'f', for_each.items = '${{ item }}' }\n",
        ["expression.undefined steps.a.for_each.items"],
    ),
    "item under another name": (
        "steps.a = { call = 'f', for_each = { items = [1], as = 'file' }, with = { x = '${{ item }}' } }\n",
        ["expression.undefined steps.a.with.x"],
    ),
    "an unknown name in a key": (
        "steps.a = { call = 'f', for_each = { items = [1], key = '${{ file }}' } }\n",
        ["expression.undefined steps.a.for_each.key"],
    ),
    "an unknown name in a list of items": (
        "steps.a = { call = 'f', for_each = { items = [1, '${{ inputs.x }}'] } }\n",
        ["definition.reference steps.a.for_each.items[1]"],
    ),
    "items of a step that is not needed": (
        FIRST + "steps.a = { call = 'f', for_each.items = '${{ steps.first.output }}' }\n",
        ["definition.reference steps.a.for_each.items"],
    ),
    "matrix outside": ("steps.a = { call = 'f', when = 'matrix.x' }\n", ["expression.undefined steps.a.when"]),
    "matrix in its own condition": (
        "steps.a = { call = 'f', matrix = { os = ['x'] }, when = \"matrix.os == 'x'\" }\n",
        ["expression.undefined steps.a.when"],
    ),
    "a name that the matrix has not": (
        "steps.a = { call = 'f', matrix = { os = ['x'] }, with = { x = '${{ matrix.arch }}' } }\n",
        ["definition.reference steps.a.with.x"],
    ),
    "retry_if reads an item": (
        "steps.a = { call = 'f', for_each.items = [1], retry = { max_attempts = 2, retry_if = 'item == 1' } }\n",
        ["expression.undefined steps.a.retry.retry_if"],
    ),
    "a name in the list that a loop gives": (
        (
            "steps.a = { run = 'x', for_each.items = [1], outputs = { x = 'exit_code' } }\n"
            "steps.b = { needs = ['a'], call = 'f', when = 'steps.a.outputs.x == 0' }\n"
        ),
        ["definition.reference steps.b.when"],
    ),
    # repeat and retry
    "until reads itself": (
        "steps.a = { call = 'f', repeat.until = 'steps.a.output == 1' }\n",
        ["definition.reference steps.a.repeat.until"],
    ),
    "until is no expression": (
        "steps.a = { call = 'f', repeat.until = '1 +' }\n",
        ["expression.syntax steps.a.repeat.until"],
    ),
    "until with a placeholder": (
        "steps.a = { call = 'f', repeat.until = '${{ result }}' }\n",
        ["expression.syntax steps.a.repeat.until"],
    ),
    "until of a command reads no such key": (
        "steps.a = { run = 'x', repeat.until = 'result.code == 0 or code == 0' }\n",
        ["expression.undefined steps.a.repeat.until", "definition.reference steps.a.repeat.until"],
    ),
    "until of a group reads inside it": (
        "steps.g = { repeat.until = 'steps.a.output == 1', steps.a.call = 'f' }\n",
        ["definition.reference steps.g.repeat.until"],
    ),
    "retry_if reads another key": (
        "steps.a = { call = 'f', retry = { retry_if = \"error.step == 'a' and attempts < 3\" } }\n",
        ["expression.undefined steps.a.retry.retry_if", "definition.reference steps.a.retry.retry_if"],
    ),
    "retry_if reads steps": (
        FIRST + "steps.a = { call = 'f', needs = ['first'], retry = { retry_if = 'steps.first.output' } }\n",
        ["expression.undefined steps.a.retry.retry_if"],
    ),
    "retry_if with a placeholder": (
        "steps.a = { call = 'f', retry = { retry_if = '${{ attempt < 2 }}' } }\n",
        ["expression.syntax steps.a.retry.retry_if"],
    ),
    "retry_if of the defaults": (
        "defaults.retry = { retry_if = 'steps.a' }\nsteps.a.call = 'f'\n",
        ["expression.undefined defaults.retry.retry_if"],
    ),
    # verbs
    "a prompt": (
        "steps.a = { agent = 'x', prompt = '${{ inputs.y }}' }\n",
        ["definition.reference steps.a.prompt"],
    ),
    "what an agent is given": (
        "steps.a = { agent = 'x', prompt = 'y', with = { z = '${{ y }}' } }\n",
        ["expression.undefined steps.a.with.z"],
    ),
    "what a child is given": (
        "steps.a = { workflow = 'x', with = { z = ['${{ y }}'] } }\n",
        ["expression.undefined steps.a.with.z[0]"],
    ),
    "what an inline child is given": (
        (
            "[steps.a]\nwith = { z = ['${{ y }}'] }\n"
            "workflow = { dsl = '1', name = 'i', steps = { b = { call = 'f' } } }\n"
        ),
        ["expression.undefined steps.a.with.z[0]"],
    ),
    "what a person is asked": (
        "steps.a.approval.prompt = '${{ y }}'\n",
        ["expression.undefined steps.a.approval.prompt"],
    ),
    "what a wait waits for": (
        (
            "steps.a.wait.for = '${{ y }}'\nsteps.b.wait.until = '${{ y }}'\n"
            "steps.c.wait = { event = '${{ x }}', key = '${{ y }}' }\n"
        ),
        [
            "expression.undefined steps.a.wait.for",
            "expression.undefined steps.b.wait.until",
            "expression.undefined steps.c.wait.event",
            "expression.undefined steps.c.wait.key",
        ],
    ),
    "a key against doing it twice": (
        "steps.a = { call = 'f', idempotency_key = '${{ run.key }}' }\n",
        ["definition.reference steps.a.idempotency_key"],
    ),
    "outputs that no approval has": (
        (
            "steps.a.approval = { prompt = '?', form = { comment = 'string' } }\n"
            "steps.b = { needs = ['a'], call = 'f', when = \"steps.a.outputs.coment == 'x'\" }\n"
        ),
        ["definition.reference steps.b.when"],
    ),
    "outputs that an inline child does not have": (
        (
            "[steps.a]\nworkflow = { dsl = '1', name = 'i', steps = { b = { call = 'f' } }, outputs = { x = 1 } }\n"
            "[steps.b]\nneeds = ['a']\ncall = 'f'\nwhen = 'steps.a.output.y'\n"
        ),
        ["definition.reference steps.b.when"],
    ),
    "an inline child reads the parent": (
        "inputs.x = {}\n[steps.a.workflow]\ndsl = '1'\nname = 'i'\nsteps.b = { call = 'f', when = 'inputs.x' }\n",
        ["definition.reference steps.a.workflow.steps.b.when"],
    ),
    "outputs of an inline child": (
        "[steps.a.workflow]\ndsl = '1'\nname = 'i'\nsteps.b.call = 'f'\noutputs.x = '${{ steps.a.output }}'\n",
        ["definition.reference steps.a.workflow.outputs.x"],
    ),
    # handlers and compensations
    "error in a step": ("steps.a = { call = 'f', when = 'error.kind' }\n", ["expression.undefined steps.a.when"]),
    "a part that no error has": (
        "steps.a.call = 'f'\non_failure.b = { call = 'f', when = 'error.path' }\n",
        ["definition.reference on_failure.b.when"],
    ),
    "a handler reads one that it does not need": (
        "steps.a.call = 'f'\nfinally.b.call = 'f'\nfinally.c = { call = 'f', when = 'steps.b.output' }\n",
        ["definition.reference finally.c.when"],
    ),
    "a handler reads the other handlers": (
        "steps.a.call = 'f'\non_failure.b.call = 'f'\nfinally.c = { call = 'f', when = 'steps.b.output' }\n",
        ["definition.reference finally.c.when"],
    ),
    "a step reads a handler": (
        "steps.a = { call = 'f', when = 'steps.b.output' }\nfinally.b.call = 'f'\n",
        ["definition.reference steps.a.when"],
    ),
    "the workflow's outputs read a handler": (
        "steps.a.call = 'f'\nfinally.b.call = 'f'\noutputs.x = '${{ steps.b.output }}'\n",
        ["definition.reference outputs.x"],
    ),
    "a compensation reads one that its step does not": (
        FIRST + "steps.a = { call = 'f', compensate = { call = 'g', with = { x = '${{ steps.first.output }}' } } }\n",
        ["definition.reference steps.a.compensate.with.x"],
    ),
    "a compensation reads an output that its step has not": (
        "[steps.a]\nrun = 'x'\ncompensate = { call = 'g', with = { x = '${{ steps.a.outputs.sha }}' } }\n",
        ["definition.reference steps.a.compensate.with.x"],
    ),
    "a group that compensates reads beside its step": (
        FIRST + "[steps.a]\ncall = 'f'\n[steps.a.compensate.steps]\nb = { call = 'g', when = 'steps.first.output' }\n",
        ["definition.reference steps.a.compensate.steps.b.when"],
    ),
    # secrets
    "a secret that is not declared": (
        "steps.a = { call = 'f', with = { x = '${{ secrets.TOKEN }}' } }\n",
        ["expression.undefined steps.a.with.x"],
    ),
    "a secret of another name": (
        "steps.a = { call = 'f', secrets = ['TOKEN'], with = { x = '${{ secrets.TOKN }}' } }\n",
        ["definition.reference steps.a.with.x"],
    ),
    "a secret in a condition": (
        "steps.a = { call = 'f', secrets = ['TOKEN'], when = \"secrets.TOKEN == 'x'\" }\n",
        ["expression.undefined steps.a.when"],
    ),
    "a secret in the arguments": (
        "steps.a = { run = ['x', '${{ secrets.TOKEN }}'], secrets = ['TOKEN'] }\n",
        ["definition.secret steps.a.run[1]"],
    ),
    "a secret in shell text": (
        "steps.a = { run = 'x ${{ secrets.TOKEN }}', secrets = ['TOKEN'] }\n",
        ["definition.secret steps.a.run"],
    ),
    "a secret input in the arguments": (
        "inputs.token = { secret = true }\nsteps.a.run = ['x', '${{ inputs.token }}']\n",
        ["definition.secret steps.a.run[1]"],
    ),
    "all inputs in shell text": (
        "inputs.token = { secret = true }\nsteps.a.run = 'x ${{ to_json(inputs) }}'\n",
        ["definition.secret steps.a.run"],
    ),
    "secrets that would be kept": (
        (
            "inputs.token = { secret = true }\n"
            "steps.a = { call = 'f', for_each = { items = '${{ [inputs.token] }}', key = '${{ inputs.token }}' }, "
            "idempotency_key = '${{ inputs.token }}' }\n"
            "steps.b.approval.prompt = '${{ inputs.token }}'\n"
            "steps.c.wait = { event = 'e', key = '${{ inputs.token }}' }\n"
        ),
        [
            "definition.secret steps.a.for_each.items",
            "definition.secret steps.a.for_each.key",
            "definition.secret steps.a.idempotency_key",
            "definition.secret steps.b.approval.prompt",
            "definition.secret steps.c.wait.key",
        ],
    ),
    "a secret for an input that is none": (
        (
            "inputs.token = { secret = true }\n[steps.a]\nwith = { x = '${{ inputs.token }}' }\n"
            "workflow = { dsl = '1', name = 'i', inputs = { x = {} }, steps = { b = { call = 'f' } } }\n"
        ),
        ["definition.secret steps.a.with.x"],
    ),
}


@pytest.mark.parametrize(("body", "expected"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_read_is_told_with_its_path(body: str, expected: list[str]) -> None:
    assert told(body) == expected


RIGHT = {
    "inside a group, what the group needs": FIRST
    + """
        [steps.g]
        needs = ['first']
        steps.a = { call = 'f', when = 'steps.first.output' }
        steps.b = { call = 'f', needs = ['a'], when = 'steps.a.output == steps.first.output' }
        """,
    "two groups deep": FIRST
    + """
        [steps.g]
        needs = ['first']
        steps.x.call = 'f'
        [steps.g.steps.h]
        needs = ['x']
        steps.a = { call = 'f', when = 'steps.first.output == steps.x.output' }
        """,
    "a group's outputs read its steps and what it needs": FIRST
    + """
        [steps.g]
        needs = ['first']
        steps.a.call = 'f'
        outputs = { x = 'steps.a.output', y = 'result.a', z = 'steps.first.output', r = 'run.id' }
        """,
    "states read each other": """
        start = 'a'
        steps.a = { call = 'f', when = "default(steps.b.output, round) == 1", next = 'b' }
        steps.b = { call = 'f', with = { x = '${{ steps.a.output }}', y = '${{ previous }}' }, next = 'c' }
        steps.c.steps.d = { call = 'f', when = 'steps.a.output == steps.b.output' }
        """,
    "a route reads its own step": """
        start = 'a'
        [steps.a]
        run = 'x'
        next = [{ when = 'steps.a.output.exit_code == 0 and result.exit_code == 0', goto = 'end' }, { default = 'a' }]
        """,
    "an item": """
        inputs.files = { type = 'array' }
        [steps.a]
        call = 'f'
        for_each = { items = '${{ inputs.files }}', as = 'file', key = '${{ file }}-${{ index }}' }
        with = { x = '${{ file }}', n = '${{ index }}' }
        idempotency_key = '${{ file }}'
        repeat = { until = 'result == file or round > index' }
        outputs = { x = 'result + file' }
        compensate = { call = 'g', with = { x = '${{ file }}', y = '${{ steps.a.output }}', z = '${{ error.step }}' } }
        """,
    "an item inside a group": """
        [steps.g]
        for_each = { items = [1, 2], as = 'n' }
        steps.a = { call = 'f', when = 'n == 1' }
        steps.b = { matrix = { os = ['x', 'y'] }, call = 'f', with = { n = '${{ n }}', os = '${{ matrix.os }}' } }
        steps.c = { for_each.items = '${{ [n] }}', call = 'f', with = { n = '${{ n + item }}' }, outputs = { x = 'n' } }
        """,
    "outputs of a loop are a list": """
        steps.a = { run = 'x', for_each.items = [1], outputs = { x = 'exit_code' } }
        steps.b = { needs = ['a'], call = 'f', when = 'steps.a.outputs[0].x == len(steps.a.output)' }
        steps.c = { needs = ['a'], call = 'f', when = "any(each['x'] == 0 for each in steps.a.outputs)" }
        """,
    "a command's until": "steps.a = { run = 'x', repeat.until = 'exit_code == 0 and result.exit_code == round' }\n",
    "retry_if": """
        inputs.n = { type = 'integer' }
        defaults.retry = { retry_if = "error.kind == 'step.exit' and attempt < inputs.n" }
        steps.a = { call = 'f', retry = { retry_if = "error.name == 'X' or error.message == run.id" } }
        """,
    "an approval's output": """
        steps.a.approval = { prompt = '?', form = { comment = 'string' } }
        [steps.b]
        needs = ['a']
        call = 'f'
        when = "steps.a.outputs.decision == 'approve' and steps.a.output.by == steps.a.outputs.comment"
        """,
    "feedback": "steps.a = { call = 'f', when = 'feedback == null and previous == null and round == 1' }\n",
    "handlers read the error and every step at the top": """
        steps.a.call = 'f'
        steps.b.call = 'f'
        [on_failure]
        x = { call = 'f', when = "error.kind == 'step.exit' and steps.a.state == steps.b.state" }
        [finally.y.steps]
        z = { call = 'f', with = { e = '${{ error }}', s = '${{ error.step }}', o = '${{ steps.a.output }}' } }
        """,
    "a compensation reads what its step reads, and the step": FIRST
    + """
        [steps.a]
        needs = ['first']
        call = 'f'
        [steps.a.compensate.steps]
        x = { call = 'g', with = { x = '${{ steps.a.output }}', y = '${{ steps.first.output }}' } }
        z = { call = 'g', needs = ['x'], when = 'steps.x.output == error.kind' }
        """,
    "secrets where they belong": """
        inputs.token = { secret = true }
        [steps.a]
        run = 'x "$TOKEN"'
        env = { TOKEN = '${{ secrets.TOKEN }}', OTHER = '${{ inputs.token }}' }
        secrets = ['TOKEN']
        [steps.b]
        call = 'f'
        with = { x = '${{ secrets.T }}', y = '${{ inputs.token }}' }
        secrets = ['T']
        [steps.c]
        with = { x = '${{ inputs.token }}' }
        workflow = { dsl = '1', name = 'i', inputs = { x = { secret = true } }, steps = { d = { call = 'f' } } }
        """,
    "other inputs may be arguments": "inputs = { t = { secret = true }, x = {} }\nsteps.a.run = 'x ${{ inputs.x }}'\n",
}


@pytest.mark.parametrize("body", RIGHT.values(), ids=RIGHT)
def test_what_is_there_can_be_read(body: str) -> None:
    assert told(body) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "steps.a = { call = 'f', when = 'item == 1' }\n",
            "only steps with for_each have 'item', and not in their own `when` and `items`",
        ),
        (
            FIRST + "steps.g.steps.a = { call = 'f', when = 'steps.first.output' }\n",
            "add 'first' to the needs of 'g'",
        ),
        (
            "steps.g.steps.a.call = 'f'\nsteps.b = { needs = ['g'], call = 'f', when = 'steps.a.output' }\n",
            "read steps.g.output.a",
        ),
        (
            "steps.g.steps.a = { call = 'f', when = 'steps.z.output' }\nsteps.z = { call = 'f', needs = ['g'] }\n",
            "'z' comes after it",
        ),
        ("steps.a = { run = 'x ${{ secrets.T }}', secrets = ['T'] }\n", "pass it in `env`"),
        (
            "steps.a = { call = 'f', with = { x = '${{ secrets.T }}' } }\n",
            "name the variable in the step's `secrets`, and read it in the fields of its verb",
        ),
        (
            "steps.a = { call = 'f', for_each = { items = [1], as = 'file' }, with = { x = '${{ item }}' } }\n",
            "it is called 'file' here",
        ),
        ("steps.g.steps.a = { call = 'f', when = 'g == 1' }\n", "write steps.g.output"),
    ],
)
def test_advice_says_how_to_read_it(body: str, expected: str) -> None:
    assert hint(body) == expected
