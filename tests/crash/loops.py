"""Reference workflows whose steps hold others or are carried out again: groups, loops over items, rounds, states."""

from __future__ import annotations

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.view import Run
from statemachine_flow.lifecycle import RunState
from tests.crash.scene import RUN_ID, Operator, Scene, run_to_rest
from tests.engine.harness import add

RETRY = {"max_attempts": 3, "delay": "1m", "jitter": "none"}


async def group_with_retry(engine: AsyncEngine, scene: Scene) -> Run:
    """A group whose step fails at first, tried again as a whole."""
    workflow = Workflow("group")
    add(workflow, "first", scene.body)
    with workflow.group("ci", needs=["first"], retry=RETRY, outputs={"all": "result"}) as ci:
        add(ci, "build", scene.body)
        add(ci, "test", scene.flaky, needs=["build"])
        with ci.group("deep", needs=["test"]) as deep:
            add(deep, "inside", scene.body)
    add(workflow, "last", scene.body, needs=["ci"])
    workflow.output("all", "${{ steps.ci.outputs.all }}")
    return await run_to_rest(engine, workflow, scene)


async def group_timeout(engine: AsyncEngine, scene: Scene) -> Run:
    """A group that takes too long is given up with what is inside, and tried again, in vain."""
    workflow = Workflow("timeout")
    retry = {"max_attempts": 2, "delay": "1s", "jitter": "none"}
    with workflow.group("ci", timeout="9h", retry=retry, optional=True) as ci:
        add(ci, "quick", scene.body)
        add(ci, "slow", scene.slow, needs=["quick"])
        add(ci, "tolerant", scene.body, needs=["slow"], trigger_rule="all_done")
    add(workflow, "last", scene.body, needs=["ci"])
    workflow.output("why", "${{ steps.ci.error.kind }}")
    return await run_to_rest(engine, workflow, scene)


async def for_each(engine: AsyncEngine, scene: Scene) -> Run:
    """Items with keys, two at a time, of which one fails within the allowance and one is tried again."""
    workflow = Workflow("items")
    items = {"items": ["a b", "bad", "c[1]", "d%"], "key": "k ${{ item }}", "max_parallel": 2, "max_failures": "25%"}
    with_ = {"value": "${{ item }}"}
    add(workflow, "review", scene.picky, for_each=items, with_=with_, retry=RETRY, outputs={"text": "result"})
    add(workflow, "again", scene.flaky, for_each={"items": [1, 2]}, retry=RETRY, needs=["review"])
    workflow.output("texts", "${{ steps.review.outputs }}")
    return await run_to_rest(engine, workflow, scene)


async def too_many_failures(engine: AsyncEngine, scene: Scene) -> Run:
    """More items fail than may; one of them is retried alone in vain, then all, once they are mended."""
    workflow = Workflow("failures", max_parallel=1)
    items = {"items": ["x", "bad", "y", "bad", "z"], "max_failures": 1, "max_parallel": 2}
    add(workflow, "review", scene.picky, for_each=items, with_={"value": "${{ item }}"})
    add(workflow, "last", scene.body, needs=["review"])
    workflow.output("all", "${{ steps.review.output }}")
    run = await run_to_rest(engine, workflow, scene)
    if run.state == RunState.FAILED:
        scene.mended = True
        step = run.steps.get("review[1]")
        one = step is not None and step.state == "failed"
        run = await engine.retry(RUN_ID, step="review", item="1" if one else "3", on_event=scene.hurry)
    if run.state == RunState.FAILED:
        run = await engine.retry(RUN_ID, on_event=scene.hurry)
    return run


async def retry_of_one_item(engine: AsyncEngine, scene: Scene) -> Run:
    """Two items failed; the one that is retried alone completes, and what remains is within the allowance."""
    workflow = Workflow("one-item")
    items = {"items": ["x", "bad", "y", "bad"], "max_failures": 1}
    add(workflow, "review", scene.picky, for_each=items, with_={"value": "${{ item }}"})
    add(workflow, "last", scene.body, needs=["review"])
    workflow.output("all", "${{ steps.review.output }}")
    run = await run_to_rest(engine, workflow, scene)
    if run.state == RunState.FAILED:
        scene.mended = True
        run = await engine.retry(RUN_ID, step="review", item="1", on_event=scene.hurry)
    return run


async def matrix(engine: AsyncEngine, scene: Scene) -> Run:
    """Every combination of two lists."""
    workflow = Workflow("matrix", max_parallel=2)
    add(workflow, "test", scene.echo, matrix={"a": [1, 2], "b": ["x", "y"]}, with_={"value": "${{ matrix }}"})
    workflow.output("all", "${{ steps.test.output }}")
    return await run_to_rest(engine, workflow, scene)


async def nested_items(engine: AsyncEngine, scene: Scene) -> Run:
    """Items of groups that go through items themselves."""
    workflow = Workflow("nested")
    outer = {"items": ["p", "q"], "as": "outer", "key": "${{ outer }}"}
    with workflow.group("each", for_each=outer, outputs={"seen": "steps.inner.output"}) as each:
        add(each, "before", scene.echo, with_={"value": "${{ outer }}"})
        inner = {"items": "${{ [steps.before.output + outer, 'z'] }}", "key": "${{ item }}", "max_parallel": 1}
        value = "${{ outer + item + str(index) }}"
        add(each, "inner", scene.echo, for_each=inner, with_={"value": value}, needs=["before"])
    workflow.output("seen", "${{ steps.each.outputs }}")
    return await run_to_rest(engine, workflow, scene)


async def rounds(engine: AsyncEngine, scene: Scene) -> Run:
    """A step and a group that are repeated, with a delay and without."""
    workflow = Workflow("rounds")
    value = {"value": "${{ (previous if round > 1 else '') + str(round) }}"}
    add(workflow, "draft", scene.echo, with_=value, repeat={"until": "len(result) >= 3", "delay": "1m"})
    with workflow.group("polish", needs=["draft"], repeat={"until": "round == 2"}) as polish:
        add(polish, "one", scene.echo, with_={"value": "${{ steps.draft.output + str(round) }}"})
        numbers = {"items": "${{ [round, round + 10] }}", "key": "${{ item }}"}
        add(polish, "two", scene.echo, for_each=numbers, with_={"value": "${{ item }}"}, needs=["one"])
    items = {"items": ["m", "n"]}
    repeat = {"until": "round == index + 1", "delay": "1s"}
    add(workflow, "items", scene.echo, for_each=items, repeat=repeat, with_=value, needs=["polish"])
    add(workflow, "vain", scene.body, repeat={"until": "false", "max": 2}, optional=True, needs=["items"])
    workflow.output("polish", "${{ steps.polish.output }}")
    workflow.output("items", "${{ steps.items.output }}")
    run = await run_to_rest(engine, workflow, scene)
    assert run.outputs["polish"]["two"] == [2, 12]  # the items of the last round
    return run


def _states(scene: Scene, most: int) -> Workflow:
    workflow = Workflow("states", start="count")
    add(
        workflow,
        "count",
        scene.echo,
        with_={"value": {"n": "${{ default(previous.n, 0) + 1 }}"}},
        outputs={"parity": "result.n % 2", "n": "result.n"},
        next={"1": "odd", "default": "even"},
        max_visits=most,
    )
    add(workflow, "odd", scene.body, next="count")
    routes = [{"when": "steps.count.outputs.n >= 4", "goto": "work"}, {"default": "count"}]
    add(workflow, "even", scene.body, next=routes)
    with workflow.group("work", start="a", next="end") as work:
        add(work, "a", scene.body, next=[{"when": "round == 2", "goto": "end"}, {"default": "b"}])
        add(work, "b", scene.useless, optional=True, next={"default": "a"})
    workflow.output("n", "${{ default(steps.count.output.n, 0) }}")
    return workflow


async def states(engine: AsyncEngine, scene: Scene) -> Run:
    """A token that comes to steps again, by maps and by lists, and a group of states at its end."""
    return await run_to_rest(engine, _states(scene, 5), scene)


async def too_many_visits(engine: AsyncEngine, scene: Scene) -> Run:
    """A token that has come to a step too often."""
    return await run_to_rest(engine, _states(scene, 3), scene)


async def states_retried(engine: AsyncEngine, scene: Scene) -> Run:
    """A required step fails in the second round of a level of states; mended, the token goes on from there."""
    workflow = Workflow("states-retried", start="a")
    add(workflow, "a", scene.body, next=[{"when": "round == 2", "goto": "b"}, {"default": "a"}])
    add(workflow, "b", scene.broken, next="c")
    add(workflow, "c", scene.body)
    run = await run_to_rest(engine, workflow, scene)
    if run.state == RunState.FAILED:
        scene.mended = True
        run = await engine.retry(RUN_ID, on_event=scene.hurry)
    return run


async def continued(engine: AsyncEngine, scene: Scene) -> Run:
    """Every join rule behind a failure, once with what does not depend on it going on, once without."""
    workflow = Workflow("continued", continue_on_error=True)
    add(workflow, "bad", scene.useless)
    add(workflow, "good", scene.body)
    rules = ("all_success", "none_failed", "all_done", "any_success", "any_failed")
    for rule in rules:
        add(workflow, rule, scene.body, needs=["bad", "good"], trigger_rule=rule)
    with workflow.group("stops", needs=["bad"], trigger_rule="all_done", optional=True) as stops:
        add(stops, "fails", scene.useless)
        add(stops, "beside", scene.body)
        for rule in rules:
            add(stops, f"in_{rule}", scene.body, needs=["fails", "beside"], trigger_rule=rule)
    return await run_to_rest(engine, workflow, scene)


async def schema(engine: AsyncEngine, scene: Scene) -> Run:
    """An output that breaks its schema in vain, and a group that keeps it once it is tried again."""
    workflow = Workflow("schema")
    add(workflow, "vain", scene.body, output_schema={"type": "integer"}, retry=RETRY, optional=True)
    with workflow.group("held", output_schema={"required": ["x"]}, retry=RETRY, needs=["vain"]) as held:
        add(held, "x", scene.flaky)
    return await run_to_rest(engine, workflow, scene)


OPERATORS: tuple[Operator, ...] = (
    group_with_retry,
    group_timeout,
    for_each,
    too_many_failures,
    retry_of_one_item,
    matrix,
    nested_items,
    rounds,
    states,
    too_many_visits,
    states_retried,
    continued,
    schema,
)
