"""The tables of `dsl/reference.md` that have their source in the code: made, compared, and written anew.

`python -m tests.conformance.tables` puts them into the reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from statemachine_flow import errors
from statemachine_flow.cli.exits import MEANINGS, Exit
from statemachine_flow.expressions import FUNCTIONS

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


def exit_code(kind: str) -> int:
    if kind in _RUN_FAILED:
        return int(Exit.FAILED)
    return (_CLASSES.get(kind) or _CLASSES[kind.partition(".")[0]]).exit_code


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


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
