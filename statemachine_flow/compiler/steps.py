"""What may be written under `steps`: ids, the fields every step has, and exactly one verb with its own."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import attrs

from statemachine_flow.compiler.plain import MOST_PROBLEMS
from statemachine_flow.compiler.problems import shown
from statemachine_flow.compiler.refused import Refused, findings_of, under, wrong_type
from statemachine_flow.compiler.shapes import Shape, hook_for, unknown_fields
from statemachine_flow.model import MAX_STEPS, Finding, Step, StepId, Verb
from statemachine_flow.steps import VERBS

_STEP: Final = Shape(Step, given=("id", "verb"))
_SHAPES: Final[Mapping[str, Shape[Any]]] = {key: Shape(verb) for key, verb in VERBS.items()}
_VERB_KEYS: Final = frozenset(VERBS)
#: Verb -> the keys a step with that verb may have.
_KNOWN: Final = {key: dict.fromkeys((*_STEP.keys, *shape.keys)).keys() for key, shape in _SHAPES.items()}
#: For a step without a verb: every key that some step has.
_ALL_KNOWN: Final = dict.fromkeys(key for keys in _KNOWN.values() for key in keys).keys()
#: Key -> the verb it belongs to.
_OWNERS: Final = {key: verb for verb, shape in _SHAPES.items() for key in shape.keys}
_step_id: Final = hook_for(StepId)

#: The key or index in the document, the step's id as written, and the rest of the step.
_Entry = tuple[str | int, Any, Any]


def structure_steps(value: Any) -> tuple[tuple[Step, ...], list[Finding]]:
    """Make the steps of a document: a mapping by id, or a list of steps that hold their `id`.

    Returns:
        The steps in the order of the document, and everything that is wrong with them, seen from `steps`. Of a
        step with something wrong the sound part is there; a bare `Verb` says that its place in the graph or its
        results are not known.
    """
    if type(value) is dict:
        entries: list[_Entry] = [(step_id, step_id, raw) for step_id, raw in value.items()]
    elif type(value) is list:
        entries = [_listed(index, raw) for index, raw in enumerate(value)]
    else:
        return (), list(wrong_type("a mapping of steps by id, or a list of steps", value).findings)
    if not entries:
        return (), [Finding("definition.range", "a workflow has at least one step")]
    if len(entries) > MAX_STEPS:
        return (), [Finding("definition.too_many", f"the workflow has more than {MAX_STEPS:,} steps")]
    return _structure_entries(entries)


def _listed(index: int, raw: Any) -> _Entry:
    if type(raw) is not dict:
        return index, None, raw
    return index, raw.get("id"), {key: value for key, value in raw.items() if key != "id"}


def _structure_entries(entries: Iterable[_Entry]) -> tuple[tuple[Step, ...], list[Finding]]:
    steps: dict[str, Step] = {}
    findings: list[Finding] = []
    for key, step_id, raw in entries:
        try:
            step = _structure_step(_step_id(step_id), raw)
        except Refused:
            step = Step(id=f"{step_id}", verb=Verb())
            if len(findings) < MOST_PROBLEMS:
                body = findings_of(partial(_structure_step, "", raw))
                findings += [*_id_findings(key, step_id, raw), *under(key, body)]
                step = _sound_part(step.id, raw, body) or step
        if step.id in steps and isinstance(step_id, str):
            message = f"the step id {shown(step.id)} stands twice"
            findings.append(Finding("definition.duplicate_key", message, (key, "id")))
        steps.setdefault(step.id, step)
    if findings:
        findings += _twins(entries)
    return tuple(steps.values()), findings


def _structure_step(step_id: str, raw: Any) -> Step:
    if type(raw) is not dict:
        raise wrong_type("a mapping", raw)
    verbs = raw.keys() & _VERB_KEYS
    findings: list[Finding] = []
    verb = Verb()
    if len(verbs) == 1:
        (key,) = verbs
        known = _KNOWN[key]
        try:
            verb = _SHAPES[key](raw)
        except Refused as refused:
            findings += refused.findings
    else:
        known = _ALL_KNOWN
        findings.append(_verb_finding(verbs))
    if not raw.keys() <= known:
        findings += map(_say_owner, unknown_fields(raw, known))
    step = {**raw, "id": step_id, "verb": verb}
    if findings:
        raise Refused(*findings, *findings_of(lambda: _STEP(step)))
    return _STEP(step)


def _verb_finding(verbs: Collection[str]) -> Finding:
    hint = "a step has exactly one of: " + ", ".join(VERBS)
    if not verbs:
        return Finding("definition.verb", "the step has no verb", (), hint)
    names = " and ".join(f"'{key}'" for key in VERBS if key in verbs)
    return Finding("definition.verb", f"the step has more than one verb: {names}", (), hint)


def _say_owner(finding: Finding) -> Finding:
    """Explain a field of another verb; the key is all right, only not here."""
    key = str(finding.path[0])
    owner = _OWNERS.get(key)
    if owner is not None:
        return attrs.evolve(finding, hint=f"'{key}' belongs to steps with '{owner}'")
    if key == "id":
        return attrs.evolve(finding, hint="the key of the step is its id")
    return finding


def _id_findings(key: str | int, step_id: Any, raw: Any) -> list[Finding]:
    wrong = findings_of(lambda: _step_id(step_id))
    if isinstance(key, str):
        return [attrs.evolve(finding, path=(key,), about_key=True) for finding in wrong]
    if type(raw) is not dict:
        return []
    if step_id is None:
        return [Finding("definition.missing_field", "the field 'id' is missing", (key, "id"))]
    return under(key, under("id", wrong))


def _sound_part(step_id: str, raw: Any, findings: Iterable[Finding]) -> Step | None:
    broken = {finding.path[0] for finding in findings if finding.path}
    if type(raw) is dict and not broken & {"needs", "outputs"}:
        try:
            return _structure_step(step_id, {key: value for key, value in raw.items() if key not in broken})
        except Refused:
            pass
    return None


def _twins(entries: Iterable[_Entry]) -> Iterator[Finding]:
    """Ids that differ only by case or by how Unicode spells them: one of them is a slip."""
    seen: dict[str, str] = {}
    for key, step_id, _ in entries:
        if isinstance(step_id, str):
            other = seen.setdefault(unicodedata.normalize("NFC", step_id).casefold(), step_id)
            if other != step_id:
                message = f"the step ids {other!a} and {step_id!a} differ only by case or spelling"
                yield Finding("definition.name", message, (key,), about_key=True)
