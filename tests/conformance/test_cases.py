"""The cases of `dsl/conformance` and the reference as documents: whole, in step with each other and with the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import pytest

from statemachine_flow.errors import KINDS
from statemachine_flow.executors.process import DEFAULT_ENV
from statemachine_flow.expressions import Expression
from statemachine_flow.expressions.functions import FUNCTIONS
from statemachine_flow.model import (
    Budget,
    CheckpointPolicy,
    Definition,
    ForEach,
    Input,
    Repeat,
    RetryPolicy,
    Step,
    document_key,
)
from statemachine_flow.plan.joins import holds
from statemachine_flow.steps import VERBS
from statemachine_flow.steps.approval import Question
from statemachine_flow.steps.wait import Waiting
from tests.conformance.tables import REFERENCE, RULES, joins, with_tables
from tests.conformance.test_conformance import CASES, EXPECTATIONS, FORMATS, documents, expectation, is_expectation

RULE = re.compile(r"^\*\*([A-Z]+-\d+)\.\*\* ", re.MULTILINE)
TEXT = REFERENCE.read_text(encoding="utf-8")
EXPECTED = sorted(path for path in CASES.rglob("*.json") if is_expectation(path))

#: Of a path, not of what a document holds.
NOT_IN_A_DOCUMENT = {"definition.format", "definition.not_a_file"}
#: Of what the engine was given, and of other files: known when a run is started.
WHEN_A_RUN_STARTS = {"definition.agent", "definition.include", "definition.workflow"}
#: Of a document that is valid: it is warned of.
WARNINGS = {"definition.exclusive_join", "definition.never_ends", "definition.never_runs"}
#: No case cuts an attempt off; the engine's tests do.
ONLY_AFTER_A_CRASH = {"step.uncertain", "step.poison"}
#: The functions of cases are coroutines of the engine's own process.
ONLY_OUTSIDE_OF_THE_LOOP = {"step.abandoned", "step.died"}
#: Only values show them.
NOT_BEFORE_A_RUN = {"expression.evaluation"}


def kinds_in(value: Any) -> Iterator[str]:
    """Every kind of error that an expectation names."""
    if isinstance(value, dict):
        if isinstance(value.get("kind"), str):
            yield value["kind"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from kinds_in(item)


def keys_of(cls: Any) -> set[str]:
    return {document_key(field.name) for field in attrs.fields(cls)}


def kinds_of(folder: str) -> set[str]:
    return {kind for document in documents(folder) for kind in kinds_in(expectation(document))}


@pytest.mark.parametrize("path", EXPECTED, ids=[path.relative_to(CASES).as_posix() for path in EXPECTED])
def test_an_expectation_has_the_form_that_is_published(path: Path) -> None:
    schema = json.loads((CASES / "case.schema.json").read_text(encoding="utf-8"))
    kind = EXPECTATIONS[path.relative_to(CASES).parts[0]]
    case = json.loads(path.read_text(encoding="utf-8"))

    assert path.name.endswith(f".{kind}.json")
    jsonschema.Draft7Validator({**schema, "$ref": f"#/definitions/{kind}"}).validate(case)
    assert set(case["rules"]) <= set(RULE.findall(TEXT))


@pytest.mark.parametrize("folder", EXPECTATIONS)
def test_each_document_has_an_expectation_and_each_expectation_its_documents(folder: str) -> None:
    found = {document.with_suffix("") for document in documents(folder)}
    expected = {path.with_name(path.name.split(".")[0]) for path in EXPECTED if path.is_relative_to(CASES / folder)}

    assert found == expected


def test_each_valid_case_is_there_in_every_format() -> None:
    cases = groupby(documents("valid"), lambda document: document.with_suffix(""))

    assert [case for case, forms in cases if {form.suffix[1:] for form in forms} != set(FORMATS)] == []


def test_an_invalid_case_names_the_problems_of_each_of_its_forms() -> None:
    for case, forms in groupby(documents("invalid"), lambda document: document.with_suffix("")):
        assert {form.suffix[1:] for form in forms} == set(expectation(case.with_suffix(".x"))["problems"]), case


def test_every_kind_of_problem_that_a_document_can_have_has_a_case() -> None:
    possible = {kind for kind in KINDS if kind.startswith(("definition.", "expression."))}

    assert possible - kinds_of("invalid") == NOT_IN_A_DOCUMENT | WHEN_A_RUN_STARTS | WARNINGS | NOT_BEFORE_A_RUN
    assert kinds_of("valid") >= WARNINGS


def test_every_kind_of_error_that_a_run_can_have_has_a_case() -> None:
    possible = {kind for kind in KINDS if kind.startswith(("input.", "step."))}

    more = {"run.failed", "run.timeout", "run.outputs"} | WHEN_A_RUN_STARTS
    assert (possible - ONLY_AFTER_A_CRASH - ONLY_OUTSIDE_OF_THE_LOOP) | NOT_BEFORE_A_RUN | more <= kinds_of("runs")


# The reference.


def test_rules_are_numbered_in_their_order() -> None:
    rules = RULE.findall(TEXT)
    counts: dict[str, int] = {}
    for rule in rules:
        prefix, number = rule.split("-")
        counts[prefix] = counts.get(prefix, 0) + 1

        assert counts[prefix] == int(number), rule


def test_every_rule_that_is_referred_to_exists() -> None:
    mentioned = set(re.findall(r"\b([A-Z]+-\d+)\b", TEXT)) - {"UTF-8", "SHA-256"}

    assert mentioned == set(RULE.findall(TEXT))


def test_the_tables_of_the_reference_are_those_of_the_code() -> None:
    """`python -m tests.conformance.tables` writes them anew."""
    assert with_tables(TEXT) == TEXT


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        ("TOP-1", {"dsl", *keys_of(Definition)}),
        ("IN-1", keys_of(Input)),
        ("STEP-4", keys_of(Step).union(*map(keys_of, VERBS.values())) - {"id", "verb", *VERBS}),
        ("APR-1", keys_of(Question)),
        ("WAIT-1", keys_of(Waiting)),
        ("EACH-1", keys_of(ForEach)),
        ("RPT-1", keys_of(Repeat)),
        ("RETRY-1", keys_of(RetryPolicy)),
        ("CKPT-1", keys_of(CheckpointPolicy)),
        ("CKPT-2", keys_of(Budget)),
    ],
)
def test_the_reference_lists_the_fields_that_there_are(rule: str, fields: set[str]) -> None:
    table = re.search(r"(?:^\|[^\n]*\n)+", TEXT.partition(f"**{rule}.**")[2], re.MULTILINE)

    assert table is not None
    assert set(re.findall(r"^\| `(\w+)`", table[0], re.MULTILINE)) == fields


@pytest.mark.parametrize(("ends", "truth"), joins(), ids=["+".join(ends) for ends, _ in joins()])
def test_a_join_rule_holds_exactly_where_the_table_says_so(ends: tuple[str, ...], truth: dict[str, bool]) -> None:
    words: dict[str, Any] = {"optional-failed": "forgiven"}

    assert {rule: holds(rule, [words.get(end, end) for end in ends]) for rule in RULES} == truth  # type: ignore[arg-type]  # the rules of the language


def test_the_table_of_joins_has_every_way_to_end() -> None:
    assert [sum(len(ends) == size for ends, _ in joins()) for size in (1, 2, 3)] == [5, 15, 35]


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_an_example_of_a_function_gives_what_its_table_says(function: Any) -> None:
    assert Expression.parse(function.example).evaluate({}) == Expression.parse(function.result).evaluate({})


def test_the_reference_names_every_kind_in_its_rules() -> None:
    before, _, rest = TEXT.partition("<!-- kinds -->")
    rules = before + rest.partition("<!-- end of kinds -->")[2]
    kinds = {kind for kind in KINDS if kind.startswith(("definition.", "expression.", "input.", "step."))}

    assert {kind for kind in kinds if f"`{kind}`" not in rules} == set()


def test_the_reference_names_every_variable_that_commands_inherit() -> None:
    """But for those of Windows, which it names as a sort."""
    (rule,) = re.findall(r"\*\*CMD-5\.\*\*.*?\n\n", TEXT, re.DOTALL)
    windows = DEFAULT_ENV[DEFAULT_ENV.index("SYSTEMROOT") :]

    assert [name for name in DEFAULT_ENV if name not in windows and f"`{name}`" not in rule] == []
