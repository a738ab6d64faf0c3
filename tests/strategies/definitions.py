"""Hypothesis strategies for whole workflows that pass every check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from hypothesis import strategies as st

from statemachine_flow.model import (
    END,
    Budget,
    CheckpointPolicy,
    Defaults,
    Definition,
    ForEach,
    Input,
    Repeat,
    RetryPolicy,
    Route,
    Step,
    TriggerRule,
    Verb,
)
from statemachine_flow.steps.agent import Agent
from statemachine_flow.steps.approval import DECISIONS, Approval, Deadline, Question, Rewind
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.group import Group
from statemachine_flow.steps.run import Run
from statemachine_flow.steps.wait import Wait, Waiting
from statemachine_flow.steps.workflow import Child

#: Text that readers have tripped over, besides whatever Hypothesis finds.
HARD_TEXTS = st.sampled_from(
    [
        "",
        " ",
        "no",
        "Y",
        "1:30",
        "0o17",
        "1e5",
        ".5",
        "...",
        "~",
        "-",
        "a: b",
        "x #y",
        "'",
        '"',
        "\\",
        "a\n",
        "\na",
        "a\n\n",
        "\n",
        "a\n b\n",
        "a \nb",
        "\ta\nb",
        "a\r\nb",
        "\x1b[2J",
        "\x00",
        "\x85\n",
        "\u2028\nx",
        "\ufeff",
        "'''\n\\",
        '"""\n\\',
        "=",
        "<<",
        "!x",
        "&a",
        "*a",
        "é\n😀",
        "null",
        "2024-01-01",
        "x" * 200,
    ]
)
TEXTS = (HARD_TEXTS | st.text(max_size=20)).map(lambda text: text.replace("${{", ""))
NAMES = st.text("aZ_", min_size=1, max_size=3) | st.sampled_from(["n", "yes", "E", "null", "x-1"])
IDS = st.text("abz", min_size=1, max_size=3) | st.sampled_from(["y", "no", "null", "e1", "a-b", "c_d", "start", "next"])
DURATIONS = st.integers(1, 3650 * 86_400_000).map(lambda milliseconds: milliseconds / 1000)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63), 2**63 - 1)


def values(*, null: bool) -> st.SearchStrategy[Any]:
    """Plain data as it may stand under `with`; `null` is what TOML cannot say."""
    leaves = TEXTS | INTEGERS | NUMBERS | st.booleans()
    return st.recursive(
        leaves | st.none() if null else leaves,
        lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXTS, below, max_size=3),
        max_leaves=6,
    )


@st.composite
def retry_policies(draw: st.DrawFn) -> RetryPolicy:
    delay, max_delay = sorted([draw(DURATIONS), draw(DURATIONS)])
    return RetryPolicy(
        max_attempts=draw(st.integers(1, 1000)),
        delay=delay,
        backoff=draw(st.sampled_from(["exponential", "constant"])),
        factor=draw(st.floats(1, 100)),
        max_delay=max_delay,
        jitter=draw(st.sampled_from(["full", "none"])),
        retry_on=tuple(draw(st.lists(TEXTS, max_size=2))),
        abort_on=tuple(draw(st.lists(TEXTS, max_size=2))),
        retry_if=draw(st.none() | st.just("attempt < 3 and error.name == 'E'")),
    )


@st.composite
def inputs(draw: st.DrawFn) -> Input:
    kind: Any
    kind, members = draw(
        st.sampled_from(
            [
                ("string", TEXTS),
                ("path", TEXTS),
                ("integer", INTEGERS),
                ("number", NUMBERS),
                ("boolean", st.booleans()),
                ("array", st.lists(TEXTS, max_size=2)),
                ("object", st.dictionaries(TEXTS, INTEGERS, max_size=2)),
            ]
        )
    )
    if draw(st.booleans()) and kind == "string":
        return Input(secret=True, required=draw(st.none() | st.booleans()), description=draw(TEXTS))
    enum = draw(st.none() | st.lists(members, min_size=1, max_size=3).map(tuple))
    return Input(
        type=kind,
        enum=enum,
        default=draw(st.none() | (members if enum is None else st.sampled_from(enum))),
        required=draw(st.none() | st.booleans()),
        description=draw(TEXTS),
    )


#: True once in a while: what is large may not stand everywhere.
RARELY = st.sampled_from([False, False, False, True])


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


@st.composite
def runs(draw: st.DrawFn, placeholder: str) -> Run:
    line = TEXTS.filter(bool) | st.just(f"echo {placeholder}")
    return Run(
        run=draw(line | st.lists(TEXTS | st.just(placeholder), min_size=1, max_size=3).map(tuple)),
        env=draw(st.dictionaries(st.sampled_from(["A", "no", "_b1"]), TEXTS, max_size=2)),
        cwd=draw(optional(TEXTS)),
        allow_exit=tuple(draw(st.lists(st.integers(0, 255), min_size=1, max_size=2, unique=True))),
    )


@st.composite
def calls(draw: st.DrawFn, placeholder: str, *, null: bool) -> Call:
    arguments = draw(st.dictionaries(TEXTS, values(null=null) | st.just(placeholder), max_size=3))
    isolation: Any = draw(st.sampled_from(["thread", "thread", "process"]))
    return Call(call=draw(st.sampled_from(["work", "kit.work", "kit.sub:work"])), with_=arguments, isolation=isolation)


@st.composite
def agents(draw: st.DrawFn, placeholder: str, *, null: bool) -> Agent:
    prompt = TEXTS.filter(lambda text: bool(text.strip())) | st.just(f"Look at {placeholder}")
    arguments = draw(st.dictionaries(TEXTS, values(null=null), max_size=2))
    return Agent(agent=draw(st.sampled_from(["reviewer", "n"])), prompt=draw(prompt), with_=arguments)


@st.composite
def approvals(draw: st.DrawFn, placeholder: str, before: Sequence[str]) -> Approval:
    choices = draw(
        st.none() | st.lists(st.sampled_from(["yes", "approve", "edit"]), min_size=1, unique=True).map(tuple)
    )
    reactions: list[Any] = ["fail"]
    if choices is None:
        rewind = [Rewind(rewind_to=before[-1], max_rounds=draw(st.integers(1, 1000)))] if before else []
        reactions = ["fail", "skip", *rewind]
    then = st.sampled_from([*(choices or DECISIONS), "fail"])
    deadline = st.builds(Deadline, after=DURATIONS, then=then)
    fields: st.SearchStrategy[Any] = st.sampled_from(["string", "integer", "boolean"]) | inputs().filter(
        lambda field: not field.secret
    )
    return Approval(
        approval=Question(
            prompt=draw(TEXTS | st.just(placeholder)),
            approvers=tuple(draw(st.lists(st.sampled_from(["lead", "no"]), unique=True))),
            form=draw(st.dictionaries(st.sampled_from(["comment", "yes"]), fields, max_size=2)),
            choices=choices,
            deadline=draw(optional(deadline)),
            on_reject=draw(st.sampled_from(reactions)),
        )
    )


@st.composite
def waits(draw: st.DrawFn, placeholder: str) -> Wait:
    kind = draw(st.sampled_from(["for", "until", "event"]))
    if kind == "for":
        return Wait(wait=Waiting(for_=draw(st.sampled_from(["5s", "1h30m", placeholder]))))
    if kind == "until":
        return Wait(wait=Waiting(until=draw(st.sampled_from(["2030-01-01T00:00:00+00:00", placeholder]))))
    timeout = draw(optional(DURATIONS))
    then: Any = draw(st.sampled_from(["fail", "complete"])) if timeout is not None else "fail"
    key = draw(st.none() | st.sampled_from(["k", placeholder]))
    return Wait(wait=Waiting(event=draw(st.sampled_from(["ci.done", "e"])), key=key, timeout=timeout, then=then))


def loops(depth: int) -> st.SearchStrategy[ForEach]:
    """Ways to go through items; what they are called must differ from those of the loops around."""
    return st.builds(
        ForEach,
        items=st.lists(INTEGERS | st.sampled_from(["a", "no"]), max_size=3).map(tuple) | st.just("${{ [1, 2] }}"),
        as_=st.sampled_from(["item", "no"]) if depth == 0 else st.just(f"item{depth}"),
        key=st.none() | st.just("${{ index }}"),
        max_parallel=optional(st.integers(1, 10_000)),
        max_failures=st.integers(0, 100_000) | st.sampled_from(["10%", "0%", "100%", "2.5%"]),
    )


REPEATS = st.builds(Repeat, until=st.just("round == 2"), max=st.integers(1, 10_000), delay=optional(DURATIONS))
MATRICES = st.dictionaries(
    st.sampled_from(["os", "py", "no"]),
    st.lists(INTEGERS | TEXTS, min_size=1, max_size=3, unique_by=repr).map(tuple),
    min_size=1,
    max_size=3,
)
SCHEMAS = st.sampled_from(
    [{}, {"type": "object", "required": ["severity"], "properties": {"severity": {"enum": ["low", "no", 1.5]}}}]
)
#: Ids by depth of the level, so that no id equals one of an enclosing level.
DEPTHS = ("", "n-", "m_", "c-")
#: Where groups of compensations stand, in which nothing stands deeper.
DEEPEST = len(DEPTHS) - 1


@st.composite
def verbs(draw: st.DrawFn, placeholder: str, before: Sequence[str], *, null: bool, depth: int, handled: bool) -> Verb:
    kinds: list[st.SearchStrategy[Any]] = [
        runs(placeholder),
        calls(placeholder, null=null),
        agents(placeholder, null=null),
        approvals(placeholder, before),
        waits(placeholder),
    ]
    if depth < DEEPEST - 1:
        kinds += [groups(null=null, depth=depth + 1, handled=handled)]
    if depth == 0:
        kinds += [children(null=null)]
    verb: Verb = draw(st.one_of(kinds))
    return verb


@st.composite
def children(draw: st.DrawFn, *, null: bool) -> Child:
    workflow = draw(st.sampled_from(["scan", "no"]) | definitions(null=null, depth=1))
    arguments = {}
    if isinstance(workflow, Definition):
        arguments = {
            name: declared.default for name, declared in workflow.inputs.items() if declared.default is not None
        }
    else:
        arguments = draw(st.dictionaries(NAMES, values(null=null), max_size=2))
    return Child(workflow=workflow, with_=arguments)


@st.composite
def groups(draw: st.DrawFn, *, null: bool, depth: int, handled: bool) -> Group:
    steps, start = draw(levels(null=null, depth=depth, handled=handled, states=None))
    return Group(steps=steps, start=start)


@st.composite
def bodies(draw: st.DrawFn, verb: Verb) -> dict[str, Any]:
    """The fields that only go with some verbs."""
    fields: dict[str, Any] = {}
    once = verb.is_body and draw(st.booleans())
    if verb.is_retried:
        fields["timeout"] = draw(optional(DURATIONS))
        fields["retry"] = draw(retry_policies()) if not once and draw(RARELY) else None
    if verb.is_body:
        fields["delivery"] = "at_most_once" if once else "at_least_once"
        fields["verify"] = draw(st.none() | st.just("kit:verify")) if once else None
        fields["idempotency_key"] = draw(st.none() | st.just("${{ run.id }}/x"))
        fields["secrets"] = tuple(draw(st.lists(st.sampled_from(["TOKEN", "no"]), unique=True, max_size=2)))
    return fields


@st.composite
def compensations(draw: st.DrawFn, *, null: bool) -> Step:
    verb = draw(
        runs("${{ run.id }}") | calls("${{ run.id }}", null=null) | groups(null=null, depth=DEEPEST, handled=True)
    )
    return Step(id="compensate", verb=verb, **draw(bodies(verb)), description=draw(TEXTS))


@st.composite
def routes(draw: st.DrawFn, ids: Sequence[str], index: int, verb: Verb) -> Any:
    """Ways out of a step of a level of states: always one to the step after it."""
    following = ids[index + 1] if index + 1 < len(ids) else END
    others = st.sampled_from([*ids, END])
    listed = st.lists(others.map(lambda other: Route(when="result == 1", goto=other)), max_size=2)
    ways: list[st.SearchStrategy[Any]] = [
        st.just(following),
        listed.map(lambda ways: (*ways, Route(default=following))),
    ]
    if not isinstance(verb, Approval):
        values_ = st.dictionaries(TEXTS.filter(lambda text: text != "default"), others, max_size=2)
        ways.append(values_.map(lambda ways: {**ways, "default": following}))
    if following == END:
        ways.append(st.none())
    return draw(st.one_of(ways))


@st.composite
def levels(
    draw: st.DrawFn, *, null: bool, depth: int, handled: bool, states: bool | None, sources: Sequence[str] = ()
) -> tuple[tuple[Step, ...], str | None]:
    """The steps of a level, and where it starts if it is one of states."""
    states = draw(st.booleans()) if states is None else states
    ids = [DEPTHS[depth] + name for name in draw(st.lists(IDS, min_size=1, max_size=max(1, 3 - depth), unique=True))]
    steps: list[Step] = []
    for index, step_id in enumerate(ids):
        before = ids[:index]
        needs = tuple(sorted(draw(st.lists(st.sampled_from(before), unique=True)))) if before and not states else ()
        read = draw(st.sampled_from([*sources, *(f'steps["{need}"].output' for need in needs), "run.id"]))
        verb = draw(verbs("${{ " + read + " }}", before if states else needs, null=null, depth=depth, handled=handled))
        goes_back = isinstance(verb, Approval) and isinstance(verb.approval.on_reject, Rewind)
        many = st.fixed_dictionaries({}, optional={"for_each": loops(depth)}) | st.fixed_dictionaries(
            {"matrix": MATRICES}
        )
        steps.append(
            Step(
                id=step_id,
                verb=verb,
                needs=needs,
                trigger_rule="all_success" if states else draw(st.sampled_from(get_args(TriggerRule)[:4])),
                when=draw(st.none() | st.just(f"{read} == 1")),
                **draw(st.just({}) if goes_back else many),
                repeat=draw(optional(REPEATS)),
                next=draw(routes(ids, index, verb)) if states else None,
                max_visits=draw(st.sampled_from([100, 1, 10_000])) if states else 100,
                optional=draw(st.booleans()),
                **draw(bodies(verb)),
                outputs=draw(st.dictionaries(NAMES, st.just("result"), max_size=2)),
                output_schema=draw(optional(SCHEMAS)),
                compensate=draw(compensations(null=null)) if not handled and draw(RARELY) else None,
                description=draw(TEXTS),
            )
        )
    return tuple(steps), ids[0] if states else None


@st.composite
def definitions(draw: st.DrawFn, *, null: bool = True, depth: int = 0) -> Definition:
    """A whole workflow; with `null=False` one that TOML can hold; the deeper it stands, the smaller it is."""
    declared = draw(st.dictionaries(NAMES, inputs(), max_size=3))
    sources = [f'inputs["{name}"]' for name, field in declared.items() if not field.secret]
    steps, start = draw(levels(null=null, depth=depth, handled=False, states=None, sources=sources))
    handlers = levels(null=null, depth=depth + 1, handled=True, states=False).map(lambda level: level[0])
    checkpoint = st.builds(
        CheckpointPolicy,
        every=st.sampled_from(["step", "level", "never"]),
        durability=st.sampled_from(["power", "process"]),
        keep=st.integers(1, 10_000),
    )
    budget = st.builds(Budget, cost_usd=optional(st.floats(0, 1_000_000)), tokens=optional(st.integers(1, 2**53)))
    return Definition(
        name=draw(st.text("a1_.- ", max_size=5).map(lambda inner: f"0{inner}0")),
        steps=steps,
        start=start,
        version=draw(TEXTS),
        description=draw(TEXTS),
        inputs=declared,
        defaults=Defaults(retry=draw(st.none() | retry_policies()), timeout=draw(st.none() | DURATIONS)),
        max_parallel=draw(st.none() | st.integers(1, 10_000)),
        timeout=draw(st.none() | DURATIONS),
        continue_on_error=draw(st.booleans()),
        compensate=draw(st.booleans()),
        checkpoint=draw(optional(checkpoint)),
        budget=draw(optional(budget)),
        on_failure=draw(handlers) if draw(RARELY) else (),
        finally_=draw(handlers) if draw(RARELY) else (),
        outputs=draw(st.dictionaries(NAMES, values(null=null) | st.just("${{ run.id }}"), max_size=3)),
    )
