"""Reference workflows that wait for something: time, signals, people, runs of their own, and the end of the run."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.engine.view import Event, Run, StepView
from statemachine_flow.errors import ConflictError
from statemachine_flow.lifecycle import RunState
from tests.crash.scene import RUN_ID, Operator, Scene, attend, run_to_rest
from tests.engine.harness import add

RETRY = {"max_attempts": 3, "delay": "1m", "jitter": "none"}


# --- time and signals


async def timers(engine: AsyncEngine, scene: Scene) -> Run:
    """Waits for some time, for a moment, and for a signal that does not come in time."""
    workflow = Workflow("timers")
    workflow.wait("for_", "10m")
    workflow.wait("until", until="2020-01-01T00:00:00+00:00", needs=["for_"])
    workflow.wait("event", event="never", timeout="20m", then="complete", needs=["until"])
    workflow.wait("late", event="never", timeout="20m", optional=True, needs=["event"])
    add(workflow, "last", scene.body, needs=["late"])
    workflow.output("why", "${{ steps.late.error.kind }}")
    return await engine.run(workflow, run_id=RUN_ID, on_event=scene.hurry, until="rest")


async def long_timers(engine: AsyncEngine, scene: Scene) -> Run:
    """Times that have not come yet when the next process takes over; hours pass while it works."""
    workflow = Workflow("long-timers")
    workflow.wait("for_", "20h")
    retry = {"max_attempts": 3, "delay": "20h", "max_delay": "20h", "jitter": "none"}
    add(workflow, "flaky", scene.useless, retry=retry, optional=True)
    workflow.approval("gate", "?", needs=["for_"], choices=["a", "b"], deadline={"after": "20h", "then": "a"})
    add(workflow, "rounds", scene.body, repeat={"until": "round == 2", "delay": "20h"}, needs=["gate"])
    going = asyncio.ensure_future(engine.run(workflow, run_id=RUN_ID, until="rest"))
    while not going.done():
        scene.clock.advance(3600)
        await asyncio.wait([going], timeout=0.001)
    return await going


def _listeners(scene: Scene) -> Workflow:
    workflow = Workflow("signals")
    workflow.wait("one", event="go")
    workflow.wait("two", event="go", needs=["one"])
    workflow.wait("keyed", for_each={"items": ["x", "y"]}, event="go", key="${{ item }}")
    add(workflow, "last", scene.body, needs=["two", "keyed"])
    for step in ("one", "two"):
        workflow.output(step, f"${{{{ split(steps.{step}.output, ' ')[0] }}}}")
    workflow.output("keyed", "${{ [split(each, ' ')[0] for each in steps.keyed.output] }}")
    return workflow


async def signals(engine: AsyncEngine, scene: Scene) -> Run:
    """Signals of one name, with keys and without, each sent when somebody waits for it."""

    async def answer(_run: Run, step: StepView) -> None:
        await scene.send(engine, "go", f"for-{step.path}", key=step.key)

    return await attend(engine, _listeners(scene), scene, answer)


async def early_signals(engine: AsyncEngine, scene: Scene) -> Run:
    """Signals that come before anybody waits for them are kept, and taken in their order."""
    workflow = Workflow("early")
    add(workflow, "first", scene.body)
    workflow.wait("ready", event="ready", needs=["first"])
    for before, step in [("ready", "one"), ("one", "two"), ("two", "three")]:
        workflow.wait(step, event="go", needs=[before])
    workflow.output(
        "all", "${{ [split(s, ' ')[0] for s in [steps.one.output, steps.two.output, steps.three.output]] }}"
    )
    run = await run_to_rest(engine, workflow, scene)
    if run.at_rest:
        return run
    if run.steps["ready"].state == "waiting":
        # He looks at the journal for what he has said before: what was not kept he says again.
        said = [event.data["payload"] for event in await engine.events(RUN_ID) if event.kind == "run.signal"]
        for word in ("a", "b", "c"):
            if not any(payload.split()[0] == word for payload in said):
                await scene.send(engine, "go", word)
        await scene.send(engine, "ready", "now")
    return await run_to_rest(engine, workflow, scene)


async def said_meanwhile(engine: AsyncEngine, scene: Scene) -> Run:
    """A signal and a decision come while nobody works on the run, which takes them when it goes on."""
    workflow = Workflow("meanwhile")
    workflow.wait("event", event="go", optional=True)
    workflow.approval("gate", "?")
    add(workflow, "last", scene.body, needs=["event", "gate"])
    workflow.output("word", "${{ split(steps.event.output, ' ')[0] }}")
    run = await run_to_rest(engine, workflow, scene)
    if run.state == RunState.RUNNING:
        await engine.pause(RUN_ID)
        for step in run.waiting:
            with contextlib.suppress(ConflictError):  # it was decided before, and is decided when the run goes on
                await (
                    scene.decide(engine, step, "approve") if step.on == "approval" else scene.send(engine, "go", "it")
                )
        run = await engine.resume(RUN_ID)
    return run


# --- people


async def approval_with_form(engine: AsyncEngine, scene: Scene) -> Run:
    """An approval with a form, one that is rejected and skipped, one of choices, one that fails."""
    workflow = Workflow("approvals")
    add(workflow, "build", scene.body)
    form: dict[str, Any] = {"note": "string", "count": {"type": "integer", "default": 3}}
    workflow.approval("gate", "Ship ${{ steps.build.output }}?", approvers=["ann"], form=form)
    workflow.approval("optional", "And this?", needs=["gate"], on_reject="skip")
    workflow.approval("colour", "Which?", needs=["optional"], trigger_rule="all_done", choices=["red", "blue"])
    workflow.approval("no", "No?", needs=["colour"], optional=True)
    add(workflow, "last", scene.body, needs=["no"])
    workflow.output("note", "${{ [steps.gate.output.note, steps.gate.output.count, steps.colour.output.decision] }}")
    choices = {"gate": "approve", "optional": "reject", "colour": "blue", "no": "reject"}

    async def answer(_run: Run, step: StepView) -> None:
        filled = {"note": "fine"} if step.path == "gate" else {}
        await scene.decide(engine, step, choices[step.path], **filled)

    return await attend(engine, workflow, scene, answer)


async def rewinds(engine: AsyncEngine, scene: Scene) -> Run:
    """Rejected twice, each time sent back with a remark; an approval that rests on the same still holds."""
    workflow = Workflow("rewinds")
    add(workflow, "fixed", scene.body)
    workflow.approval("once", "Is ${{ steps.fixed.output }} so?")
    said = "${{ default(feedback.note, 'nothing') }}"
    with workflow.group("draft", needs=["fixed"]) as draft:
        add(draft, "write", scene.echo, with_={"value": said})
        add(draft, "check", scene.echo, for_each={"items": [1, 2]}, with_={"value": said}, needs=["write"])
    workflow.approval("held", "Fixed?", needs=["draft", "once"])
    add(workflow, "beside", scene.body, needs=["draft"])
    workflow.approval(
        "judge",
        "Is ${{ steps.draft.output.write }} good?",
        needs=["held", "beside"],
        form={"note": "string"},
        on_reject={"rewind_to": "draft", "max_rounds": 3},
    )
    add(workflow, "last", scene.body, needs=["judge"])
    workflow.output("draft", "${{ steps.draft.output }}")

    async def answer(_run: Run, step: StepView) -> None:
        round_ = step.generation
        if step.path == "judge" and round_ <= 2:
            await scene.decide(engine, step, "reject", note=f"worse {round_}")
        else:
            await scene.decide(engine, step, "approve")

    return await attend(engine, workflow, scene, answer)


async def too_many_rounds(engine: AsyncEngine, scene: Scene) -> Run:
    """Rejected in the last round."""
    workflow = Workflow("rounds")
    add(workflow, "draft", scene.body)
    back = {"rewind_to": "draft", "max_rounds": 2}
    workflow.approval("judge", "${{ steps.draft.output }}?", on_reject=back)

    async def answer(_run: Run, step: StepView) -> None:
        await scene.decide(engine, step, "reject")

    return await attend(engine, workflow, scene, answer)


async def approval_among_states(engine: AsyncEngine, scene: Scene) -> Run:
    """A token that people send back by a choice, and by a rejection."""
    workflow = Workflow("states", start="plan")
    value = "${{ default(feedback.note, default(steps.gate.output.note, 'new')) + str(round) }}"
    add(workflow, "plan", scene.echo, with_={"value": value}, next="gate")
    routes = {"go": "final", "edit": "plan"}
    workflow.approval("gate", "${{ steps.plan.output }}", choices=["go", "edit"], form={"note": "string"}, next=routes)
    back = {"rewind_to": "plan", "max_rounds": 2}
    workflow.approval("final", "Sure?", on_reject=back, form={"note": "string"}, next="build")
    add(workflow, "build", scene.body)
    workflow.output("plan", "${{ steps.plan.output }}")

    async def answer(_run: Run, step: StepView) -> None:
        if step.path == "gate":
            await scene.decide(engine, step, "edit" if step.generation == 1 else "go", note="later")
        else:
            await scene.decide(engine, step, "reject" if step.generation == 1 else "approve", note="not yet")

    return await attend(engine, workflow, scene, answer)


async def deadlines(engine: AsyncEngine, scene: Scene) -> Run:
    """Nobody decides in time: a choice is made, a rejection sends back, a failure is forgiven."""
    workflow = Workflow("deadlines")
    workflow.approval("chosen", "?", choices=["a", "b"], deadline={"after": "10m", "then": "b"})
    add(workflow, "draft", scene.body, needs=["chosen"])
    back = {"rewind_to": "draft", "max_rounds": 2}
    workflow.approval("back", "?", needs=["draft"], deadline={"after": "10m"}, on_reject=back, optional=True)
    workflow.approval("fails", "?", needs=["back"], deadline={"after": "10m", "then": "fail"}, optional=True)
    workflow.output("errors", "${{ [steps.back.error.kind, steps.fails.error.kind, steps.chosen.output.by] }}")
    return await engine.run(workflow, run_id=RUN_ID, on_event=scene.hurry, until="rest")


# --- child runs


def _inner(scene: Scene) -> Workflow:
    innermost = Workflow("innermost")
    value = innermost.input("value")
    add(innermost, "deep", scene.echo, with_={"value": value})
    innermost.output("got", innermost["deep"].output)
    inner = Workflow("inner")
    given = inner.input("given")
    add(inner, "before", scene.body)
    inner.child("below", innermost, with_={"value": given}, needs=["before"])
    inner.output("got", "${{ steps.below.output.got + '!' }}")
    return inner


async def children(engine: AsyncEngine, scene: Scene) -> Run:
    """Child runs two levels deep, of a step and of the items of a loop."""
    workflow = Workflow("children")
    workflow.child("one", _inner(scene), with_={"given": "x"})
    items = {"items": ["a", "b"], "key": "${{ item }}", "max_parallel": 1}
    workflow.child("each", _inner(scene), with_={"given": "${{ item }}"}, for_each=items, needs=["one"])
    workflow.output("all", "${{ [steps.one.output, steps.each.output] }}")
    return await run_to_rest(engine, workflow, scene)


async def failing_children(engine: AsyncEngine, scene: Scene) -> Run:
    """A child run that fails each time, one that only fails at first, and one that takes too long."""
    bad, late = Workflow("bad"), Workflow("late")
    add(bad, "useless", scene.useless)
    bad.finally_.call("clean", scene.body)
    add(late, "slow", scene.slow)
    fickle = Workflow("fickle")
    tries = fickle.input("value")
    add(fickle, "picky", scene.picky, with_={"value": tries})
    workflow = Workflow("failing")
    workflow.child("bad", bad, retry={**RETRY, "max_attempts": 2}, optional=True)
    workflow.child("fickle", fickle, with_={"value": "bad"}, retry=RETRY, needs=["bad"], optional=True)
    workflow.child("late", late, timeout="9h", needs=["fickle"], optional=True)
    add(workflow, "last", scene.body, needs=["late"])
    workflow.output("kinds", "${{ [steps.bad.error.kind, steps.fickle.error.kind, steps.late.error.kind] }}")
    return await run_to_rest(engine, workflow, scene)


async def child_that_waits(engine: AsyncEngine, scene: Scene) -> Run:
    """A person decides inside a child run."""
    inner = Workflow("inner")
    inner.approval("gate", "?")
    add(inner, "last", scene.body, needs=["gate"])
    inner.output("text", inner["last"].output)
    workflow = Workflow("outer")
    workflow.child("below", inner)
    workflow.output("text", "${{ steps.below.output.text }}")
    run = await run_to_rest(engine, workflow, scene)
    while not run.at_rest:
        child = await engine.get(run.children["below"])
        await scene.decide(engine, child.waiting[0], "approve", run_id=child.id)
        run = await run_to_rest(engine, workflow, scene)
    return run


async def cancelled_parent(engine: AsyncEngine, scene: Scene) -> Run:
    """Cancelled while a child run two levels down is under way."""
    innermost, inner, workflow = Workflow("innermost"), Workflow("inner"), Workflow("outer")
    add(innermost, "endless", scene.endless)
    innermost.finally_.call("clean", scene.body)
    inner.child("below", innermost)
    workflow.child("inner", inner)
    add(workflow, "last", scene.body, needs=["inner"])
    return await _cancel(engine, workflow, scene, "r.inner.below", "endless")


async def paused_parent(engine: AsyncEngine, scene: Scene) -> Run:
    """Paused while a child run is under way, then cancelled by whoever comes."""
    inner, workflow = Workflow("inner"), Workflow("outer")
    add(inner, "first", scene.body)
    inner.approval("gate", "?", needs=["first"])
    workflow.child("inner", inner)
    await run_to_rest(engine, workflow, scene)
    run = await engine.get(RUN_ID)
    if not scene.acted and run.state == RunState.RUNNING:
        await engine.pause(RUN_ID)
    scene.acted = True
    return await engine.cancel(RUN_ID)


async def _cancel(engine: AsyncEngine, workflow: Workflow, scene: Scene, run_id: str, step: str) -> Run:
    """Cancel the run once a step has begun; a run that was to be cancelled is cancelled again."""
    asked: list[asyncio.Task[Any]] = []

    def listen(event: Event) -> None:
        scene.hurry(event)
        if (event.run_id, event.kind, event.step) == (run_id, "step.start", step):
            asked.append(asyncio.ensure_future(engine.cancel(RUN_ID)))

    try:
        return await engine.run(workflow, run_id=RUN_ID, on_event=listen)
    finally:
        await asyncio.gather(*asked, return_exceptions=True)


# --- how a run ends


def _saga(scene: Scene) -> Workflow:
    workflow = Workflow("saga", compensate=True, max_parallel=1)

    def undo(path: str) -> dict[str, Any]:
        return {"call": scene.echo, "with": {"value": f"undo ${{{{ {path} }}}}"}}

    add(workflow, "book", scene.body, compensate=undo("steps.book.output"))
    items = {"items": ["a", "b"], "key": "${{ item }}"}
    add(workflow, "each", scene.body, for_each=items, compensate=undo("item"), needs=["book"])
    with workflow.group("inside", needs=["each"], compensate=undo("steps.inside.state")) as inside:
        add(inside, "one", scene.body, compensate={"call": scene.useless})
    on_failure, finally_ = workflow.on_failure, workflow.finally_
    on_failure.call("tell", scene.echo, with_={"value": "${{ default(error.name, 'none') }}"})
    on_failure.call("mend", scene.useless, needs=["tell"])
    finally_.call("clean", scene.echo, with_={"value": "${{ default(error.kind, 'none') }}"})
    finally_.call("sweep", scene.body, needs=["clean"])
    return workflow


async def failing_saga(engine: AsyncEngine, scene: Scene) -> Run:
    """A run that fails is undone, tells of it, and is cleaned up after; mended, it is done again."""
    workflow = _saga(scene)
    add(workflow, "broken", scene.broken, needs=["inside"])
    run = await run_to_rest(engine, workflow, scene)
    if run.state == RunState.FAILED:
        scene.mended = True
        run = await engine.retry(RUN_ID, on_event=scene.hurry)
    assert run.steps["book"].attempt > 1  # what was undone is done again
    return run


async def failed_saga(engine: AsyncEngine, scene: Scene) -> Run:
    """The same without anybody who mends it."""
    workflow = _saga(scene)
    add(workflow, "useless", scene.useless, needs=["inside"])
    return await run_to_rest(engine, workflow, scene)


async def cancelled_saga(engine: AsyncEngine, scene: Scene) -> Run:
    """A run that is cancelled is undone and cleaned up after."""
    workflow = _saga(scene)
    add(workflow, "endless", scene.endless, needs=["inside"])
    return await _cancel(engine, workflow, scene, RUN_ID, "endless")


async def completing(engine: AsyncEngine, scene: Scene) -> Run:
    """A run that completes is cleaned up after, too."""
    workflow = _saga(scene)
    workflow.output("book", "${{ steps.book.output }}")
    return await run_to_rest(engine, workflow, scene)


async def broken_finally(engine: AsyncEngine, scene: Scene) -> Run:
    """A run that was going to complete fails by what cleans up, in a handler that waits and holds others."""
    workflow = Workflow("broken-finally")
    add(workflow, "work", scene.body)
    with workflow.finally_.group("all") as group:
        group.wait("pause", "1m")
        add(group, "bad", scene.useless, needs=["pause"])
    return await run_to_rest(engine, workflow, scene)


async def late_run(engine: AsyncEngine, scene: Scene) -> Run:
    """A run that takes too long fails, with what waits in it."""
    workflow = Workflow("late", timeout="9h")
    add(workflow, "first", scene.body)
    workflow.wait("event", event="never", needs=["first"])
    add(workflow, "slow", scene.slow, needs=["first"], timeout="90h")
    add(workflow, "slower", scene.slow, needs=["first"], timeout="90h")
    workflow.finally_.call("clean", scene.body)
    return await run_to_rest(engine, workflow, scene)


OPERATORS: tuple[Operator, ...] = (
    timers,
    long_timers,
    said_meanwhile,
    signals,
    early_signals,
    approval_with_form,
    rewinds,
    too_many_rounds,
    approval_among_states,
    deadlines,
    children,
    failing_children,
    child_that_waits,
    cancelled_parent,
    paused_parent,
    failing_saga,
    failed_saga,
    cancelled_saga,
    completing,
    broken_finally,
    late_run,
)
