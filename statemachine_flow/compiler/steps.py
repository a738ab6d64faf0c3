"""What may be written under `steps`: ids, the fields of steps, exactly one verb with its own, levels in levels."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import attrs

from statemachine_flow.compiler.plain import MOST_PROBLEMS
from statemachine_flow.compiler.problems import shown
from statemachine_flow.compiler.refused import Refused, findings_of, under, wrong_type
from statemachine_flow.compiler.shapes import hook_for, unknown_fields
from statemachine_flow.compiler.step_fields import (
    ALL_KNOWN,
    KNOWN,
    STEP,
    USUAL,
    USUAL_STEP,
    VERB_SHAPES,
    Where,
    explain,
)
from statemachine_flow.model import MAX_STEPS, Definition, Finding, Step, StepId, Verb
from statemachine_flow.steps import VERBS

_VERB_KEYS: Final = frozenset(VERBS)
_NOTHING: Final[list[Finding]] = []
#: Stands for steps or a workflow of which nothing is sound.
_UNSOUND: Final = object()
_step_id: Final = hook_for(StepId)

#: Fields without which it is not known what comes before what, or which names expressions can begin with.
_DECIDING: Final = frozenset(("needs", "next", "start", "outputs", "for_each", "matrix", "secrets"))

#: The key or index in the document, the step's id as written, and the rest of the step.
_Entry = tuple[str | int, Any, Any]


@attrs.define
class Reading:
    """What is the same for all levels of one document while they are read."""

    #: Makes the definition of a workflow that stands inside a step: what is sound of it, and what is wrong.
    take_workflow: Callable[[Any, Reading], tuple[Definition | None, list[Finding]]]
    _steps: int = 0

    def count(self, steps: int) -> list[Finding]:
        """Count steps, wherever they stand; the finding if they are too many by now."""
        self._steps += steps
        if self._steps <= MAX_STEPS:
            return []
        return [Finding("definition.too_many", f"the workflow has more than {MAX_STEPS:,} steps")]


def structure_level(value: Any, reading: Reading, where: Where = "level") -> tuple[tuple[Step, ...], list[Finding]]:
    """Make the steps of a level: from a mapping by id, or a list of steps that hold their `id`.

    Args:
        value: what the document holds.
        reading: that of the document.
        where: what kind of level it is.

    Returns:
        The steps in the order of the document, and everything that is wrong with them, seen from the level. Of a
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
        return (), [Finding("definition.range", "at least one step is needed")]
    too_many = reading.count(len(entries))
    return ((), too_many) if too_many else _structure_entries(entries, reading, where)


def _listed(index: int, raw: Any) -> _Entry:
    if type(raw) is not dict:
        return index, None, raw
    return index, raw.get("id"), {key: value for key, value in raw.items() if key != "id"}


def _structure_entries(
    entries: Sequence[_Entry], reading: Reading, where: Where
) -> tuple[tuple[Step, ...], list[Finding]]:
    steps: dict[str, Step] = {}
    findings: list[Finding] = []
    for key, step_id, written in entries:
        raw, nested = written, _NOTHING
        if type(written) is dict and ("steps" in written or "workflow" in written or "compensate" in written):
            raw, nested = _take_nested(written, reading, where)
        try:
            step = _structure_step(_step_id(step_id), raw, where, nested)
        except Refused:
            step = Step(id=f"{step_id}", verb=Verb())
            if len(findings) < MOST_PROBLEMS:
                body = findings_of(partial(_structure_step, "", raw, where))
                findings += [*_id_findings(key, step_id, raw), *under(key, [*nested, *body])]
                step = _sound_part(step.id, raw, body, where) or step
        if step.id in steps and isinstance(step_id, str):
            message = f"the step id {shown(step.id)} stands twice"
            findings.append(Finding("definition.duplicate_key", message, (key, "id")))
        steps.setdefault(step.id, step)
    if findings:
        findings += _twins(entries)
    return tuple(steps.values()), findings


def _take_nested(raw: dict[str, Any], reading: Reading, where: Where) -> tuple[dict[str, Any], list[Finding]]:
    """The step with the steps inside it made, each once, and what is wrong with them."""
    made = dict(raw)
    findings: list[Finding] = []
    if "steps" in raw:
        # Nothing in a handler or a compensation is compensated, however deep it stands.
        steps, found = structure_level(raw["steps"], reading, "level" if where == "level" else "handlers")
        made["steps"] = steps or _UNSOUND
        findings += under("steps", found)
    if "compensate" in raw:
        findings += under("compensate", reading.count(1))
        entry = ("compensate", "compensate", raw["compensate"])
        (made["compensate"],), found = _structure_entries([entry], reading, "compensation")
        findings += found
    if "workflow" in raw:
        workflow, found = _take_workflow(raw["workflow"], reading)
        made["workflow"] = workflow or _UNSOUND
        findings += under("workflow", found)
    return made, findings


def _take_workflow(value: Any, reading: Reading) -> tuple[str | Definition | None, list[Finding]]:
    if type(value) is dict:
        return reading.take_workflow(value, reading)
    if type(value) is not str:
        return None, list(wrong_type("text or a mapping", value).findings)
    return value, [] if value else [Finding("definition.range", "this must not be empty")]


def _structure_step(step_id: str, raw: Any, where: Where, nested: Sequence[Finding] = ()) -> Step:
    """Make a step in which the steps inside it are made already, unless `nested` says that they are wrong."""
    if nested:
        raise Refused(*nested)
    if type(raw) is not dict:
        raise wrong_type("a mapping", raw)
    verbs = raw.keys() & _VERB_KEYS
    findings: list[Finding] = []
    verb = Verb()
    if len(verbs) == 1:
        (key,) = verbs
        if where == "level" and raw.keys() <= USUAL[key]:
            try:
                return USUAL_STEP({**raw, "id": step_id, "verb": VERB_SHAPES[key](raw)})
            except Refused:
                pass  # one of the two said what is wrong, and both are to be asked
        known = KNOWN[where][key]
        try:
            verb = VERB_SHAPES[key](raw)
        except Refused as refused:
            findings += refused.findings
    else:
        known = ALL_KNOWN[where]
        findings.append(_verb_finding(verbs))
    step = {**raw, "id": step_id, "verb": verb}
    if not raw.keys() <= known:
        findings += (explain(finding, where) for finding in unknown_fields(raw, known))
    if findings:
        raise Refused(*findings, *findings_of(lambda: STEP(step)))
    return STEP(step)


def _verb_finding(verbs: Collection[str]) -> Finding:
    hint = "a step has exactly one of: " + ", ".join(VERBS)
    if not verbs:
        return Finding("definition.verb", "the step has no verb", (), hint)
    names = " and ".join(f"'{key}'" for key in VERBS if key in verbs)
    return Finding("definition.verb", f"the step has more than one verb: {names}", (), hint)


def _id_findings(key: str | int, step_id: Any, raw: Any) -> list[Finding]:
    wrong = findings_of(lambda: _step_id(step_id))
    if isinstance(key, str):
        return [attrs.evolve(finding, path=(key,), about_key=True) for finding in wrong]
    if type(raw) is not dict:
        return []
    if step_id is None:
        return [Finding("definition.missing_field", "the field 'id' is missing", (key, "id"))]
    return under(key, under("id", wrong))


def _sound_part(step_id: str, raw: Any, findings: Iterable[Finding], where: Where) -> Step | None:
    broken = {finding.path[0] for finding in findings if finding.path}
    if type(raw) is dict and not broken & _DECIDING:
        sound = {key: value for key, value in raw.items() if key not in broken and value is not _UNSOUND}
        try:
            return _structure_step(step_id, sound, where)
        except Refused:
            pass  # for a reason that refused the whole step, too, and so stands among the problems already
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
