"""No document of `dsl` lies there unchecked; those of `examples` are counted in `tests/examples/test_workflows.py`."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.conformance.test_conformance import CASES, EXPECTATIONS, documents, is_expectation
from tests.docs.test_fences import PAGES

ROOT = Path(__file__).parents[2]
DSL = ROOT / "dsl"


def generated() -> set[Path]:
    """The files that `check` compares with what their modules print."""
    tree = ast.parse((ROOT / "dev.py").read_text(encoding="utf-8"))
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "GENERATED"
    )
    return {ROOT / name for name in ast.literal_eval(table)}


def cases() -> set[Path]:
    """The documents that the conformance tests carry out, what they expect of each, and the children that one names."""
    found = {path for folder in EXPECTATIONS for path in documents(folder)}
    expected = {
        document.with_name(f"{document.stem}.{EXPECTATIONS[document.relative_to(CASES).parts[0]]}.json")
        for document in found
    }
    texts = {path.parent: "" for path in found}
    for path in found:
        texts[path.parent] += path.read_text(encoding="utf-8", errors="replace")
    children = {
        path for path in CASES.rglob("children/*") if f"children/{path.name}" in texts.get(path.parent.parent, "")
    }
    return found | {path for path in expected if is_expectation(path)} | children


def test_every_file_of_the_language_is_checked() -> None:
    files = {path for path in DSL.rglob("*") if path.is_file()}
    ours = {DSL / "conformance/.gitattributes", CASES / "case.schema.json"}

    assert sorted(files - set(PAGES) - generated() - cases() - ours) == []
