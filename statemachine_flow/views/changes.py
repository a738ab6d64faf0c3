"""How two workflows differ in meaning, and what that is to a run under way: `diff`. Layout and comments are nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import attrs

from statemachine_flow.builder import Workflow, as_workflow
from statemachine_flow.engine.view import Run
from statemachine_flow.model import Definition
from statemachine_flow.steps import VERBS
from statemachine_flow.views.effects import Live, effect
from statemachine_flow.views.renames import Tree, renamed, with_names

Kind = Literal["added", "removed", "renamed", "order", "rewired", "code", "policy", "text", "workflow"]

_MISSING: Final = object()
#: Key of a step -> the kind of its change; of all other keys it is `policy`.
_KINDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("needs", "next", "start"), "rewired"),
    **dict.fromkeys(
        (*VERBS, "prompt", "with", "env", "cwd", "allow_exit", "transaction", "outputs", "output_schema"), "code"
    ),
    "description": "text",
}
#: Keys of a document that hold levels of steps, and how the paths in them begin.
_LEVELS: Final = {"steps": "", "on_failure": "@on_failure/", "finally": "@finally/"}
#: Keys of a document whose members are told one by one.
_SECTIONS: Final = ("inputs", "outputs", "defaults")


@attrs.frozen(kw_only=True)
class Change:
    """One difference."""

    kind: Kind
    #: The path of the step in the later workflow, of a removed step in the earlier one; or a key of the document.
    path: str
    #: The key of the step that changed; "" if it is about the step as a whole.
    field: str = ""
    #: Plain data; None where there was or is nothing.
    before: Any = None
    after: Any = None
    #: The path in the earlier workflow, where there is one.
    was: str | None = None
    #: What it means for the run that was given; "" without one.
    effect: str = ""

    def __str__(self) -> str:
        if self.kind == "renamed":
            return f"renamed {self.was} to {self.path}"
        if self.kind in ("added", "removed"):
            return f"{self.kind} {self.path}"
        if self.kind == "order":
            return f"order {self.path}: {self.before} -> {self.after}"
        where = f"{self.path}.{self.field}" if self.field else self.path
        return f"{self.kind} {where}: {_shown(self.before)} -> {_shown(self.after)}"


@attrs.frozen(kw_only=True)
class Difference:
    """Everything in which two workflows differ."""

    before: Definition
    after: Definition
    changes: tuple[Change, ...]

    @property
    def same(self) -> bool:
        """Whether they mean the same, so that a run of the one is a run of the other."""
        return self.before.content_hash == self.after.content_hash

    def __str__(self) -> str:
        return "\n".join(map(str, self.changes)) or "no difference"


_Source = Workflow | Definition | str | os.PathLike[str]


def diff(before: _Source, after: _Source, *, run: Run | None = None) -> Difference:
    """Compare two workflows.

    Args:
        before: the earlier one, as an engine takes it.
        after: the later one.
        run: a run of the earlier one; each change then tells what it would mean for it.

    Raises:
        DefinitionError: one of them is not valid.

    Example:
        >>> one, other = Workflow("w"), Workflow("w")
        >>> _ = one.run("build", "make"), other.run("build", "make all", timeout="1m")
        >>> print(diff(one, other))
        code build.run: "make" -> "make all"
        policy build.timeout: null -> "1m"
    """
    old, new = as_workflow(before).definition, as_workflow(after).definition
    changes = tuple(_changes(old.tree(), new.tree()))
    if run is not None:
        live = Live.of(run, is_same=run.definition_hash == old.content_hash)
        changes = tuple(
            attrs.evolve(change, effect=effect(change.kind, change.was, change.path, live)) for change in changes
        )
    return Difference(before=old, after=new, changes=changes)


def _changes(old: Tree, new: Tree) -> Iterator[Change]:
    for key in _keys(old, new):
        before, after = old.get(key), new.get(key)
        if key in _LEVELS:
            yield from _level(before or {}, after or {}, _LEVELS[key], _LEVELS[key])
        elif key in _SECTIONS:
            yield from _section(key, before or {}, after or {})
        elif before != after:
            kind: Kind = (
                "rewired" if key == "start" else "text" if key in ("name", "version", "description") else "workflow"
            )
            yield Change(kind=kind, path=key, before=before, after=after)


def _section(name: str, old: Tree, new: Tree) -> Iterator[Change]:
    for key in _keys(old, new):
        before, after = old.get(key, _MISSING), new.get(key, _MISSING)
        if before != after:
            found = (None if value is _MISSING else value for value in (before, after))
            yield Change(kind="workflow", path=f"{name}.{key}", before=next(found), after=next(found))


def _level(old: Mapping[str, Tree], new: Mapping[str, Tree], was: str, now: str) -> Iterator[Change]:
    """The changes of a level; `was` and `now` are what its paths begin with."""
    names = renamed(old, new)
    came = set(new) - set(old) - set(names.values())
    for step_id, tree in old.items():
        other = names.get(step_id, step_id)
        if other not in new:
            yield Change(kind="removed", path=was + step_id, was=was + step_id, before=dict(tree))
            continue
        if other != step_id:
            yield Change(kind="renamed", path=now + other, was=was + step_id)
        yield from _step(with_names(tree, names), new[other], was + step_id, now + other)
    for step_id in new:
        if step_id in came:
            yield Change(kind="added", path=now + step_id, after=dict(new[step_id]))
    kept = [names.get(step_id, step_id) for step_id in old if names.get(step_id, step_id) in new]
    yield from _order(kept, [step_id for step_id in new if step_id in set(kept)], now)


def _step(old: Tree, new: Tree, was: str, now: str) -> Iterator[Change]:
    for key in _keys(old, new):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            if key == "steps":
                yield from _level(before, after, f"{was}/", f"{now}/")
                continue
            if key == "compensate":
                yield from _step(before, after, f"@compensate/{was}", f"@compensate/{now}")
                continue
            if key == "workflow":
                yield from (
                    attrs.evolve(change, path=f"{now}/{change.path}", was=was) for change in _changes(before, after)
                )
                continue
        if before != after or (key == "matrix" and list(before or ()) != list(after or ())):
            yield Change(kind=_KINDS.get(key, "policy"), path=now, field=key, before=before, after=after, was=was)


def _order(before: list[str], after: list[str], prefix: str) -> Iterator[Change]:
    """Tell when steps that both have stand in another order, which is their priority."""
    if before != after:
        yield Change(kind="order", path=f"{prefix}*", before=", ".join(before), after=", ".join(after))


def _keys(old: Iterable[str], new: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys([*old, *new])


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)
