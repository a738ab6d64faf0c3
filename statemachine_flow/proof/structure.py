"""The ends of steps along a graph, for levels with too many configurations. Pure.

For each step every end that is possible is computed from those of the steps it needs, as if these ended independently
of each other. That allows more than can happen: what is impossible here is impossible, and what seems possible is
not claimed. The costs are steps plus edges.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from statemachine_flow.proof.findings import Findings
from statemachine_flow.proof.parts import Part, walk
from statemachine_flow.proof.rules import CANCELLED, COMPLETED, END_SETS, FAILED, SKIPPED, WAITS_FOR_FAILURE, Rules


def survey(parts: list[Part], rules: Rules, *, goes_on: bool) -> Findings:
    """What is known of a graph level without looking at its configurations.

    Args:
        parts: its steps.
        rules: what is judged.
        goes_on: whether a failure stops nothing.

    Returns:
        Findings that claim only what holds; what they leave out is in `open`.
    """
    findings = Findings(method="structure")
    order = _in_order(parts)
    possible = [0] * len(parts)
    is_clear = True  # nothing before could fail or be skipped by its condition
    for place in order:
        _meet(parts[place], possible, rules, findings, goes_on=goes_on)
    for part in parts:
        is_clear = is_clear and part.condition == "always"
        if is_clear and part.place in findings.begins and not part.needs and part.lane is None:
            findings.always.add(part.place)
    _judge(parts, rules, findings, is_ordered=len(order) == len(parts))
    _ends(parts, possible, rules, findings)
    return findings


def _in_order(parts: Sequence[Part]) -> list[int]:
    missing = [len(part.needs) for part in parts]
    queue = deque(place for place, count in enumerate(missing) if not count)
    order = []
    while queue:
        place = queue.popleft()
        order.append(place)
        for dependent in parts[place].dependents:
            missing[dependent] -= 1
            if not missing[dependent]:
                queue.append(dependent)
    return order


def _meet(part: Part, possible: list[int], rules: Rules, findings: Findings, *, goes_on: bool) -> None:
    """Compute how one step can end from how those it needs can."""
    table = rules.joins[part.step.trigger_rule]
    joined = _joined(possible[need] for need in part.needs)
    # In a level that stops nothing begins but tolerant steps, so none of the others saw a failure.
    free = goes_on or part.tolerant
    blocked = 0 if free else 1 << FAILED | 1 << CANCELLED
    runs = part.condition != "never" and any(
        joined >> bits & 1 and table[bits][0] and not bits & blocked for bits in END_SETS
    )
    skips = part.condition != "always" or any(joined >> bits & 1 and not table[bits][0] for bits in END_SETS)
    ends = 0
    if runs:
        findings.begins[part.place] = ()
        for end in part.ways.values():
            ends |= 1 << end
        if part.condition == "maybe":
            ends |= 1 << part.failure
        if part.rewinds_to is not None:
            ends |= 1 << COMPLETED
    if skips:
        ends |= 1 << SKIPPED
    if ends & 1 << SKIPPED:
        findings.skips.add(part.place)
    if not goes_on and not part.tolerant:
        ends |= 1 << CANCELLED
    possible[part.place] = ends


def _joined(ends: Iterable[int]) -> int:
    """Every set of ends that steps with these possible ends can have together, as the bits of a number."""
    joined = 1  # the empty set
    for possible in ends:
        grown = 0
        for bits in END_SETS:
            if joined >> bits & 1:
                for end in range(5):
                    if possible >> end & 1:
                        grown |= 1 << (bits | 1 << end)
        joined = grown
    return joined


def _judge(parts: Sequence[Part], rules: Rules, findings: Findings, *, is_ordered: bool) -> None:
    """What the tables alone show: that they say what they ought to, and that every step has a way to rest."""
    used = {part.step.trigger_rule for part in parts}
    if any(runs != ought for rule in used for runs, ought in rules.joins[rule]):
        findings.open.add("joins")
    if any((rule in rules.tolerant) != (rule in WAITS_FOR_FAILURE) for rule in used):
        findings.open.add("stops")
    has_way = all(part.open_state is not None and part.ways for part in parts if part.place in findings.begins)
    can_leave = all(walk(rules, (trigger,))[0] is not None for trigger in ("skip", "cancel"))
    can_cancel = all(walk(rules, (*part.begin, "cancel"))[0] is not None for part in parts)
    if not (is_ordered and has_way and can_leave and can_cancel):
        findings.open.add("rests")


def _ends(parts: Sequence[Part], possible: Sequence[int], rules: Rules, findings: Findings) -> None:
    failing = [part for part in parts if possible[part.place] >> FAILED & 1]
    findings.ends["cut"] = ()
    if failing:
        findings.hurt = findings.ends["failed"] = ()
    # It completes unless some required step can do nothing but fail.
    if not any(possible[part.place] == 1 << FAILED for part in parts):
        findings.ends["completed"] = ()
    if not _can_complete(parts, rules):
        findings.open.add("completes")


def _can_complete(parts: Sequence[Part], rules: Rules) -> bool:
    """Whether the one run in which conditions are true and nothing fails that need not, completes."""
    seen = [-1] * len(parts)
    for place in _in_order(parts):
        part = parts[place]
        bits = 0
        for need in part.needs:
            bits |= 1 << seen[need]
        if part.condition == "never" or not rules.joins[part.step.trigger_rule][bits][0]:
            seen[place] = SKIPPED
        elif "complete" in part.ways:
            seen[place] = COMPLETED
        else:
            seen[place] = next(iter(part.ways.values()), FAILED)
        if seen[place] == FAILED:
            return False
    return True
