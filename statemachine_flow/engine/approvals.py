"""What a person is asked, and what makes an answer one. Functions over a run's `Rules`."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from statemachine_flow.engine.inputs import complete_fields
from statemachine_flow.engine.rules import Rules
from statemachine_flow.errors import ConflictError, InputError
from statemachine_flow.expressions.values import to_text
from statemachine_flow.journal import StepFold
from statemachine_flow.plan import Node
from statemachine_flow.steps.approval import Approval
from statemachine_flow.values import decode_value, encode_value

_DIGEST_SIZE: Final = 16


def question(rules: Rules, node: Node) -> tuple[dict[str, Any], str]:
    """What the person is shown, and the digest of all that the answer rests on.

    The digest is over the rendered prompt and over the outputs of the steps that the prompt reads or the step needs:
    if a rewind changes any of them, an earlier approval is void.

    Raises:
        ExpressionError: the prompt cannot be rendered.
    """
    verb = node.step.verb
    assert isinstance(verb, Approval)  # noqa: S101 - the caller knows
    asked = verb.approval
    names = rules.names(node)
    template = node.step.template("approval.prompt", asked.prompt)
    prompt = to_text(template.render(names))
    shown = {
        "prompt": prompt,
        "choices": list(verb.choices),
        "approvers": list(asked.approvers),
        "form": {name: {"type": field.type, "required": field.must_be_given} for name, field in asked.fields().items()},
    }
    digest = hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_SIZE)
    read = {reference[1] for reference in template.references if reference[0] == "steps" and len(reference) > 1}
    for step_id in sorted(read | set(node.step.step.needs)):
        step = names["steps"][step_id]
        output = step["output"] if step["state"] == "completed" else None
        digest.update(encode_value([step_id, step["state"], output]))
    return shown, digest.hexdigest()


def still_holds(rules: Rules, node: Node, digest: str) -> bytes | None:
    """The encoded decision of an earlier round, if it approved and nothing that it rests on has changed."""
    step = rules.fold.step(node.path)
    before = rules.names.results.previous(step)
    if not step.rewound or node.scope.kind != "graph" or not isinstance(before, Mapping):
        return None
    if before.get("decision") == "approve" and before.get("digest") == digest:
        return encode_value(dict(before))
    return None


def answer(
    rules: Rules,
    node: Node,
    now: int,
    *,
    choice: str,
    form: Mapping[str, Any],
    by: str,
    reason: str,
    digest: str | None,
) -> dict[str, Any]:
    """The output of an approval that was decided.

    Args:
        rules: the run's rules.
        node: the approval.
        now: when it was decided.
        choice: what was decided.
        form: the fields that were filled in.
        by: who decided.
        reason: why.
        digest: of what that person saw; None if they looked at the run as it is now.

    Raises:
        ConflictError: `run.refused`: nobody is asked, not them, not this any more, or it is no choice.
        InputError: the form is not filled in as it has to be.
    """
    step = rules.fold.steps.get(node.path)
    verb = node.step.verb
    if step is None or step.state != "waiting" or not isinstance(verb, Approval) or step.waits is None:
        state = "pending" if step is None else step.state
        raise _refused(rules, node, f"step '{node.path}' waits for no decision: it is {state}")
    if choice not in verb.choices:
        raise _refused(rules, node, f"{choice!r} is no choice here", f"choices: {', '.join(verb.choices)}")
    if verb.approval.approvers and by not in verb.approval.approvers:
        allowed = ", ".join(verb.approval.approvers)
        raise _refused(rules, node, f"{by or 'somebody without a name'} may not decide this", f"approvers: {allowed}")
    if digest is not None and digest != step.waits.digest:
        raise _refused(rules, node, "what was shown has changed since then", "look at it again")
    fields = verb.approval.fields()
    problems, values = complete_fields(fields, form, path=f"steps.{node.path}.form")
    if problems and choice != "reject":
        raise InputError(problems)
    unknown = [problem for problem in problems if problem.kind != "input.missing"]
    if unknown:
        raise InputError(unknown)
    decision: dict[str, Any] = rules.names.hide(_decision(choice, values, by, reason, now, step.waits.digest))
    return decision


def by_deadline(rules: Rules, node: Node, choice: str, now: int) -> dict[str, Any]:
    """The output of an approval that nobody decided in time."""
    verb, step = node.step.verb, rules.fold.step(node.path)
    assert isinstance(verb, Approval)  # noqa: S101 - the caller knows
    values = {name: field.default for name, field in verb.approval.fields().items()}
    digest = step.waits.digest if step.waits is not None else ""
    return _decision(choice, values, "deadline", "nobody decided in time", now, digest)


def _decision(  # noqa: PLR0917 - its own fields
    choice: str, values: Mapping[str, Any], by: str, reason: str, now: int, digest: str
) -> dict[str, Any]:
    at = dt.datetime.fromtimestamp(now / 1e6, dt.UTC).isoformat()
    return {"decision": choice, **values, "by": by, "at": at, "reason": reason, "digest": digest}


def shown_to(step: StepFold) -> Mapping[str, Any]:
    """What a waiting approval shows."""
    if step.waits is None or not bytes(step.waits.shown):
        return {}
    found: Mapping[str, Any] = decode_value(step.waits.shown)
    return found


def _refused(rules: Rules, node: Node, message: str, hint: str | None = None) -> ConflictError:
    error = ConflictError(message, kind="run.refused", run=rules.fold.id, hint=hint)
    error.step = node.path
    return error
