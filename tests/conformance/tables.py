"""The tables of `dsl/reference.md` that have their source in the code: made, compared, and written anew.

`python -m tests.conformance.tables` puts them into the reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations_with_replacement
from pathlib import Path

from statemachine_flow import errors, model
from statemachine_flow.cli.exits import MEANINGS, Exit
from statemachine_flow.compiler.plain import MOST_PROBLEMS, Limits
from statemachine_flow.durations import MAX_SECONDS
from statemachine_flow.engine import length, openings
from statemachine_flow.executors.process import CAPTURE_LIMIT, SPILL_LIMIT
from statemachine_flow.expressions import FUNCTIONS, budget, values as values_of_expressions
from statemachine_flow.expressions.template import MAX_RENDERED
from statemachine_flow.values import MAX_DEPTH

REFERENCE = Path(__file__).parents[2] / "dsl/reference.md"

#: Kind, or the part of it before the dot -> the class that carries it where it ends a command.
_CLASSES: dict[str, type[errors.SmfError]] = {
    "usage": errors.UsageError,
    "definition": errors.DefinitionError,
    "expression": errors.ExpressionError,
    "input": errors.InputError,
    "run": errors.ConflictError,
    "run.not_found": errors.NotFoundError,
    "transition": errors.TransitionRefused,
    "store": errors.StoreError,
    "step": errors.StepError,
    "internal": errors.SmfError,
}
#: Of a run that went wrong: they end a command by the state of the run.
_RUN_FAILED = ("run.failed", "run.timeout", "run.outputs")


#: How a needed step can have ended; the failure of an optional step has a word of its own.
ENDS = ("completed", "failed", "optional-failed", "skipped", "cancelled")
RULES = ("all_success", "none_failed", "all_done", "any_success", "any_failed")


def runs(rule: str, ends: Sequence[str]) -> bool:
    """What JOIN-3 says, read from it by counting; the library is not asked."""
    completed, failed, forgiven, skipped, cancelled = (ends.count(end) for end in ENDS)
    if rule == "all_success":
        return failed + skipped + cancelled == 0
    if rule == "none_failed":
        return failed + cancelled == 0
    if rule == "any_success":
        return completed > 0
    if rule == "any_failed":
        return failed + forgiven > 0
    return rule == "all_done"


def joins() -> list[tuple[tuple[str, ...], dict[str, bool]]]:
    """All ways in which one, two or three needed steps can have ended -> what each rule makes of it."""
    return [
        (ends, {rule: runs(rule, ends) for rule in RULES})
        for size in (1, 2, 3)
        for ends in combinations_with_replacement(ENDS, size)
    ]


def exit_code(kind: str) -> int:
    if kind in _RUN_FAILED:
        return int(Exit.FAILED)
    return (_CLASSES.get(kind) or _CLASSES[kind.partition(".")[0]]).exit_code


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def limits() -> Iterator[tuple[str, str, str]]:
    document, mib = Limits(), 2**20
    yield "document", f"{document.max_bytes // mib} MiB", "`definition.too_large`"
    values = "values in a document: the root, values of mappings, items of lists"
    yield values, f"{document.max_nodes:,}", "`definition.too_many`"
    nesting = "mappings and lists inside each other, the root included"
    yield nesting, f"{document.max_depth}", "`definition.too_deep`"
    yield "steps", f"{model.MAX_STEPS:,}", "`definition.too_many`"
    yield "combinations of a matrix", f"{openings.MAX_ITEMS:,}", "`definition.too_many`"
    yield "items of a loop", f"{openings.MAX_ITEMS:,}", "`step.items`"
    yield "characters of an item's key", f"{openings.MAX_KEY}", "`step.items`"
    yield "child runs inside each other", f"{openings.MAX_DEPTH}", "`step.limit`"
    yield "records of a run", f"{length.MAX_RECORDS:,}", "`run.limit`"
    yield "whole numbers", f"{values_of_expressions.MAX_INTEGER.bit_length() + 1} bits", "`definition.number`"
    yield "durations", f"{MAX_SECONDS / 86400:g} days", "`definition.range`"
    yield "problems in one report", f"{MOST_PROBLEMS}", ""
    yield "characters of an expression", f"{budget.MAX_TEXT:,}", "`expression.limit`"
    yield "levels of an expression", f"{budget.MAX_DEPTH}", "`expression.too_deep`"
    yield "steps of an evaluation", f"{budget.MAX_STEPS:,}", "`expression.limit`"
    yield "characters and items that operators build", f"{budget.MAX_BUILT:,}", "`expression.limit`"
    yield "characters and items of a computed value", f"{budget.MAX_RESULT:,}", "`expression.limit`"
    yield "characters of a text with its placeholders replaced", f"{MAX_RENDERED:,}", "`expression.limit`"
    yield "levels of a step's output", f"{MAX_DEPTH}", "`step.unserializable`"
    yield "what is text of an output stream", f"{CAPTURE_LIMIT // mib} MiB", ""
    yield "what is kept of an output stream", f"{SPILL_LIMIT // mib} MiB", ""


def tables() -> dict[str, str]:
    """Name of each table, as its markers have it -> the table."""
    functions = [
        (f"`{function.signature}`", function.doc, f"`{function.example}`", f"`{function.result}`")
        for function in FUNCTIONS.values()
    ]
    return {
        "functions": table(("function", "what it gives", "example", "value"), functions),
        "kinds": table(
            ("kind", "meaning", "exit code"),
            [(f"`{kind}`", meaning, exit_code(kind)) for kind, meaning in errors.KINDS.items()],
        ),
        "limits": table(("what", "limit", "kind"), limits()),
        "joins": table(
            ("ended", *(f"`{rule}`" for rule in RULES)),
            [(", ".join(ends), *("runs" if held else "" for held in truth.values())) for ends, truth in joins()],
        ),
        "exit codes": table(("code", "meaning"), [(int(code), meaning) for code, meaning in MEANINGS.items()]),
    }


def with_tables(text: str) -> str:
    """The text with the tables as they have to be."""
    for name, content in tables().items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}{content}\n{end}{after}"
    return text


if __name__ == "__main__":
    REFERENCE.write_text(with_tables(REFERENCE.read_text(encoding="utf-8")), encoding="utf-8")
