"""What documents mean: graph, names and references, each problem with its place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import attrs
import pytest
from hypothesis import given, strategies as st

from statemachine_flow.compiler import load_document
from statemachine_flow.compiler.check import check
from statemachine_flow.compiler.graph import Graph
from statemachine_flow.model import Definition, Step, Verb
from statemachine_flow.steps.call import Call
from tests.compiler.cases import MEANING, Case, toml, toml_step, yaml, yaml_step
from tests.compiler.test_document import only_problem, problems_of, told


def workflow(needs: Mapping[str, tuple[str, ...]], when: Mapping[str, str] | None = None) -> Definition:
    when = when or {}
    steps = [Step(id=key, verb=Call(call="f"), needs=below, when=when.get(key)) for key, below in needs.items()]
    return Definition(name="w", steps=tuple(steps))


def chain(length: int) -> dict[str, tuple[str, ...]]:
    return {f"s{number}": (f"s{number - 1}",) if number else () for number in range(length)}


@pytest.mark.parametrize("case", MEANING.values(), ids=MEANING)
def test_every_problem_of_meaning_is_told_with_its_place(case: Case) -> None:
    assert told(problems_of(case.text)) == case.problems


def test_a_workflow_built_in_python_gets_the_same_problems_without_positions() -> None:
    from_text = only_problem(MEANING["unknown need"].text)

    (problem,) = check(workflow({"build": (), "test": ("biuld",)}))
    assert problem == attrs.evolve(from_text, position=None, source_line=None)


# Positions inside texts.


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (toml_step('call = "f", when = "1 == foo"'), (4, 32)),
        (toml_step("call = 'f', when = '1 == foo'"), (4, 32)),
        (toml_step('call = "f", when = """1 == foo"""'), (4, 34)),
        (toml_step('call = "f", with = { x = ["${{ inputs.y }}"] }'), (4, 38)),
        (yaml_step("call: f\nwhen: 1 == foo"), (6, 16)),
        (yaml_step("call: f\nwhen: '1 == foo'"), (6, 17)),
    ],
)
def test_the_column_is_that_of_the_wrong_name(document: str, place: tuple[int, int]) -> None:
    position = only_problem(document).position

    assert position is not None
    assert (position.line, position.column) == place


@pytest.mark.parametrize(
    "document",
    [
        toml_step('call = "f", when = "\\u0031 == foo"'),
        toml('[steps.a]\ncall = "f"\nwhen = """\n1 == foo"""\n'),
        yaml_step("call: f\nwhen: >-\n  1 ==\n  foo"),
    ],
)
def test_where_columns_are_shifted_the_character_is_named(document: str) -> None:
    assert only_problem(document).message == "'foo' is not defined here, at character 6 of '1 == foo'"


# The graph.


def test_case_16_a_circle_is_told_once_from_the_first_of_its_steps() -> None:
    edges = [("b", "c"), ("c", "a"), ("a", "b")]
    problem = only_problem(
        toml("[steps]\n" + "".join(f'{step} = {{ needs = ["{need}"], call = "f" }}\n' for step, need in edges))
    )

    assert problem.message == "steps need each other in a circle: b -> c -> a -> b"
    assert problem.path == "steps.b.needs"


def test_case_17_a_missing_need_names_both_steps_and_the_one_that_was_meant() -> None:
    problem = only_problem(MEANING["unknown need"].text)

    assert problem.message == "step 'test' needs 'biuld', which does not exist"
    assert problem.hint == "did you mean 'build'?"


def test_case_19_a_long_chain_is_checked_without_recursion() -> None:
    definition = workflow(chain(10_000), when={"s9999": "steps.s0.output == 1"})

    assert check(definition) == []


def test_a_long_circle_is_found_without_recursion() -> None:
    needs = chain(10_000)
    needs["s0"] = ("s9999",)

    (problem,) = check(workflow(needs))
    assert problem.message.startswith("steps need each other in a circle: s0 -> s9999 -> ")


def test_many_edges_are_no_quadratic_work() -> None:
    """2,000 steps and 25,000 edges, and a reading step for each: counted in seconds only if it went wrong."""
    ids = [f"s{number}" for number in range(2_000)]
    needs = {key: tuple(ids[max(0, number - 13) : number]) for number, key in enumerate(ids)}
    when = dict.fromkeys(ids[1:], "steps.s0.output == 1")

    assert check(workflow(needs, when)) == []


GRAPHS = st.integers(1, 8).flatmap(
    lambda size: st.lists(st.lists(st.integers(0, size - 1), max_size=3, unique=True), min_size=size, max_size=size)
)


def graph_of(edges: list[list[int]]) -> Graph:
    steps = [
        Step(id=f"s{index}", verb=Verb(), needs=tuple(f"s{need}" for need in needs if need != index))
        for index, needs in enumerate(edges)
    ]
    return Graph(steps)


def reachable(edges: list[list[int]], start: int) -> set[int]:
    """Every step that `start` needs, found the slow way."""
    seen: set[int] = set()
    open_steps = [start]
    while open_steps:
        index = open_steps.pop()
        new = {need for need in edges[index] if need != index} - seen
        seen |= new
        open_steps += new
    return seen


@given(GRAPHS)
def test_a_graph_has_a_circle_exactly_if_some_step_needs_itself_in_the_end(edges: list[list[int]]) -> None:
    circles = list(graph_of(edges).cycles())

    assert bool(circles) == any(index in reachable(edges, index) for index in range(len(edges)))
    for circle in circles:
        numbers = [int(step_id[1:]) for step_id in circle]
        assert numbers[0] == min(numbers)
        assert all(after in edges[before] for before, after in zip(numbers, numbers[1:] + numbers[:1], strict=True))


@given(GRAPHS)
def test_a_step_is_before_another_exactly_if_the_other_needs_it_in_the_end(edges: list[list[int]]) -> None:
    graph = graph_of(edges)
    if list(graph.cycles()):
        return

    for later in range(len(edges)):
        before = {earlier for earlier in range(len(edges)) if graph.is_before(f"s{earlier}", f"s{later}")}
        assert before == reachable(edges, later)


# References.


@pytest.mark.parametrize(
    "steps",
    [
        """
        b = { needs = ["a"], call = "f" }
        c = { needs = ["b"], call = "f", when = "steps.a.state == 'completed'" }
        """,
        'b = { needs = ["a"], call = "f", when = "steps.a.outputs.anything == steps.a.output.x[0]" }',
        """
        c = { run = "x", outputs = { n = "len(stdout)" } }
        d = { needs = ["c"], call = "f", when = "steps.c.outputs.n == steps.c.output.exit_code" }
        """,
        """
        c = { run = "x" }
        d = { needs = ["c"], run = "echo ${{ steps.c.outputs.stdout }} $${{ not.ours }}" }
        """,
        """
        parse-it = { call = "f" }
        b = { needs = ["parse-it"], call = "f", when = "steps['parse-it'].output == 1" }
        """,
        'b = { run = "x", env = { H = "${{ env.HOME }}" }, cwd = "${{ run.id }}" }',
        'b = { run = "x", outputs = { x = "result.stdout + run.workflow" } }',
        'b = { call = "f", when = "any(x == 1 for x in inputs.xs)" }',
        'b = { call = "f", with = { "${{ a key is never a placeholder" = 1 } }',
        """[outputs]
        a = "${{ default(steps.a.output, None) }}"
        """,
    ],
)
def test_what_is_there_in_time_can_be_read(steps: str) -> None:
    load_document(toml(f'inputs.xs = {{ type = "array" }}\n[steps]\na = {{ call = "f" }}\n{steps}\n'))


def test_a_missing_need_is_told_once_and_not_as_a_missing_order_too() -> None:
    """Who comes before whom is not known while a need is misspelt."""
    document = toml(
        '[steps]\nab = { call = "f" }\nc = { needs = ["abc"], call = "f", when = "steps.ab.output == 1" }\n'
    )

    assert only_problem(document).kind == "definition.unknown_step"


def test_in_a_circle_nobody_is_before_anybody() -> None:
    steps = "".join(
        f'{step} = {{ needs = ["{need}"], call = "f" }}\n' for step, need in [("a", "b"), ("b", "c"), ("c", "a")]
    )
    reader = 'd = { needs = ["a"], call = "f", when = "steps.c.output == 1" }\n'

    assert only_problem(toml(f"[steps]\n{steps}{reader}")).kind == "definition.cycle"


def test_what_hangs_on_a_refused_step_is_not_judged() -> None:
    document = yaml(
        "steps:\n"
        "  a: {call: f, needs: b, outputs: {x: 1}}\n"
        "  b: {call: f, when: steps.c.output == 1}\n"
        "  c: {call: f, needs: [a], when: steps.a.outputs.y == steps.d.output}\n"
    )

    assert told(problems_of(document)) == (
        "definition.type steps.a.needs 4",
        "definition.type steps.a.outputs.x 4",
        "definition.reference steps.c.when 6",
    )


# Functions.


@pytest.mark.parametrize(
    "name",
    [
        *("os:_exit", "_x:y", "a._b:c"),
        *("a:lambda", "a.class:f", "lambda x: x", "a:", ":a", "a:b:c", "a b", "a:b.c", "é:f", "a:f\n", "1a"),
    ],
)
def test_case_22_a_private_or_malformed_name_is_refused(name: str) -> None:
    (problem,) = check(Definition(name="w", steps=(Step(id="a", verb=Call(call=name)),)))

    assert problem.kind == "definition.callable"


@pytest.mark.parametrize(
    "name", ["os:system", "builtins:eval", "kit.sub:work", "work", "kit.work", "kit-work", "_work"]
)
def test_case_22_who_may_be_called_is_decided_by_the_engine(name: str) -> None:
    assert check(Definition(name="w", steps=(Step(id="a", verb=Call(call=name)),))) == []


def test_case_22_checking_imports_nothing() -> None:
    document = toml_step('call = "this:s"')
    code = (
        "import sys\n"
        "from statemachine_flow.compiler import load_document\n"
        f"load_document({document!r})\n"
        "print('this' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_of_thousands_of_slips_a_hundred_are_told_and_twenty_get_advice() -> None:
    """Each piece of advice compares a word with every step; all of them would take minutes."""
    problems = check(workflow({f"step-{number}": (f"stop-{number}",) for number in range(5_000)}))

    assert len(problems) == 100
    assert [problem.hint is not None for problem in problems].count(True) == 20


@pytest.mark.parametrize(
    "body",
    [
        "[steps]\n" + "".join(f"s{number} = {{ call = 'f', timeout = 5 }}\n" for number in range(500)),
        "[steps]\n" + "".join(f"S{number} = {{ call = 'f' }}\n" for number in range(500)),
        "[steps]\n" + "".join(f"s{number} = {{ call = 'f', when = 'foo' }}\n" for number in range(500)),
        "".join(f"k{number} = 1\n" for number in range(500)) + "steps.a.call = 'f'\n",
        "steps.a.run = 'x'\n[steps.a.env]\n" + "".join(f"{number} = 1\n" for number in range(500)),
        "steps.a.call = 'f'\nsteps.a.with.x = '" + "${{ foo }}" * 500 + "'\n",
        "steps.a.call = 'f'\nsteps.a.with.x = [" + "'${{ foo }}', " * 500 + "]\n",
    ],
)
def test_a_document_that_is_wrong_everywhere_is_told_so_a_hundred_times_at_most(body: str) -> None:
    assert 0 < len(problems_of(toml(body))) <= 100


# Two whole documents.

GRAPH = r"""
dsl = "1"
name = "code-review"
version = "1.2.0"
timeout = "2h"
max_parallel = 4
checkpoint = { every = "step", durability = "power", keep = 50 }
budget = { cost_usd = 3.0, tokens = 400_000 }
defaults.retry = { max_attempts = 3, delay = "2s", backoff = "exponential", max_delay = "1m", jitter = "full" }
inputs.repo = { type = "string" }
inputs.max_files = { type = "integer", default = 20 }
on_failure.notify = { call = "reviewkit.chat:post" }
finally.cleanup = { run = 'rm -rf "$WORK"' }
[steps]
diff = { run = ["git", "-C", "${{ inputs.repo }}", "diff", "--name-only", "main"], outputs = { files = "lines(stdout)" }, timeout = "30s" }
lint = { needs = ["diff"], call = "reviewkit.lint:check", with = { files = "${{ steps.diff.outputs.files }}" }, optional = true }
security = { needs = ["diff"], workflow = "security-scan", with = { repo = "${{ inputs.repo }}" } }
settle = { needs = ["approve"], trigger_rule = "none_failed", wait = { event = "ci.done", key = "${{ inputs.repo }}", timeout = "1h" } }
[steps.review]
needs = ["diff"]
for_each = { items = "${{ steps.diff.outputs.files[:inputs.max_files] }}", as = "file", key = "${{ file }}", max_parallel = 4, max_failures = "10%" }
agent = "reviewer"
prompt = "Review ${{ file }}, answer as JSON. Literal {{ braces }} and $SHELL need no escape."
output_schema = { type = "object", required = ["severity"], properties = { severity = { enum = ["low", "high"] } } }
timeout = "5m"
retry = { max_attempts = 5, retry_on = ["RateLimited", "TimeoutError"], abort_on = ["AuthError"] }
[steps.approve]
needs = ["lint", "security", "review"]
trigger_rule = "all_done"
when = "any(f.severity == 'high' for f in steps.review.outputs)"
approval.prompt = "High severity. Merge anyway?"
approval.approvers = ["lead"]
approval.form = { comment = "string" }
approval.deadline = { after = "1d", then = "reject" }
approval.on_reject = { rewind_to = "review", max_rounds = 2 }
[steps.merge]
needs = ["settle"]
call = "reviewkit.git:merge"
delivery = "at_most_once"
idempotency_key = "${{ run.id }}/merge"
compensate = { call = "reviewkit.git:revert", with = { sha = "${{ steps.merge.outputs.sha }}" } }
[outputs]
findings = "${{ steps.review.outputs }}"
sha = "${{ default(steps.merge.outputs.sha, None) }}"
"""  # noqa: E501 - an inline table has one line

STATES = r"""
dsl = "1"
name = "plan-and-build"
start = "plan"
inputs.goal = { type = "string" }
[steps.plan]
agent = "planner"
prompt = "Plan: ${{ inputs.goal }}. Reviewer said: ${{ default(steps.gate.outputs.feedback, 'nothing yet') }}"
next = "gate"
[steps.gate]
approval = { prompt = "${{ steps.plan.output }}", form = { feedback = "string" }, choices = ["approve", "edit", "reject"] }
next = { approve = "build", edit = "plan", reject = "end" }
max_visits = 5
[steps.build]
run = ["make", "-j2"]
next = [{ when = "steps.build.output.exit_code == 0", goto = "end" }, { default = "plan" }]
allow_exit = [0, 1, 2]
"""  # noqa: E501 - as above


@pytest.mark.parametrize("document", [GRAPH, STATES], ids=["graph", "states"])
def test_a_whole_document_of_every_part_of_the_language_is_no_problem_and_worth_no_warning(document: str) -> None:
    loaded = load_document(document)

    assert loaded.warnings == ()
    assert check(loaded.definition) == []


def test_a_broken_loop_is_told_once_and_not_as_missing_names_too() -> None:
    document = toml_step('call = "f", for_each = { items = [1], max_parallel = 0 }, with = { x = "${{ item }}" }')

    assert only_problem(document).path == "steps.a.for_each.max_parallel"


@pytest.mark.parametrize("start", ["start = 5\n", ""])
def test_without_a_sound_start_the_shape_of_a_level_is_judged_only_if_there_is_none(start: str) -> None:
    document = toml(f'{start}[steps]\na = {{ call = "f", next = "b" }}\nb = {{ call = "f" }}\n')

    assert only_problem(document).path == ("start" if start else "steps.a.next")
