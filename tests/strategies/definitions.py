"""Hypothesis strategies for whole workflows that pass every check."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from statemachine_flow.model import Defaults, Definition, Input, RetryPolicy, Step, Verb
from statemachine_flow.steps.call import Call
from statemachine_flow.steps.run import Run

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
IDS = st.text("abz", min_size=1, max_size=3) | st.sampled_from(["y", "no", "null", "e1", "a-b", "c_d"])
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
    enum = draw(st.none() | st.lists(members, min_size=1, max_size=3).map(tuple))
    return Input(
        type=kind,
        enum=enum,
        default=draw(st.none() | (members if enum is None else st.sampled_from(enum))),
        required=draw(st.none() | st.booleans()),
        description=draw(TEXTS),
    )


@st.composite
def verbs(draw: st.DrawFn, placeholder: str, *, null: bool) -> Verb:
    if draw(st.booleans()):
        arguments = draw(st.dictionaries(TEXTS, values(null=null) | st.just(placeholder), max_size=3))
        name = draw(st.sampled_from(["work", "kit.work", "kit.sub:work"]))
        return Call(call=name, with_=arguments)
    line = TEXTS.filter(bool) | st.just(f"echo {placeholder}")
    return Run(
        run=draw(line | st.lists(TEXTS | st.just(placeholder), min_size=1, max_size=3).map(tuple)),
        env=draw(st.dictionaries(st.sampled_from(["A", "no", "_b1"]), TEXTS, max_size=2)),
        cwd=draw(st.none() | TEXTS),
    )


@st.composite
def definitions(draw: st.DrawFn, *, null: bool = True) -> Definition:
    """A whole workflow; with `null=False` one that TOML can hold."""
    declared = draw(st.dictionaries(NAMES, inputs(), max_size=3))
    ids = draw(st.lists(IDS, min_size=1, max_size=4, unique=True))
    steps: list[Step] = []
    for index, step_id in enumerate(ids):
        needs = tuple(sorted(draw(st.lists(st.sampled_from(ids[:index]), unique=True)))) if index else ()
        sources = [f'inputs["{name}"]' for name in declared] + [f'steps["{need}"].output' for need in needs]
        read = draw(st.sampled_from([*sources, "run.id"]))
        steps.append(
            Step(
                id=step_id,
                verb=draw(verbs("${{ " + read + " }}", null=null)),
                needs=needs,
                when=draw(st.none() | st.just(f"{read} == 1")),
                timeout=draw(st.none() | DURATIONS),
                retry=draw(st.none() | retry_policies()),
                optional=draw(st.booleans()),
                outputs=draw(st.dictionaries(NAMES, st.just("result"), max_size=2)),
                description=draw(TEXTS),
            )
        )
    return Definition(
        name=draw(st.text("a1_.- ", max_size=5).map(lambda inner: f"0{inner}0")),
        steps=tuple(steps),
        version=draw(TEXTS),
        description=draw(TEXTS),
        inputs=declared,
        defaults=Defaults(retry=draw(st.none() | retry_policies()), timeout=draw(st.none() | DURATIONS)),
        max_parallel=draw(st.none() | st.integers(1, 10_000)),
        timeout=draw(st.none() | DURATIONS),
        outputs=draw(st.dictionaries(NAMES, values(null=null) | st.just("${{ run.id }}"), max_size=3)),
    )
