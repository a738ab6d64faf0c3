"""What the reference knows of one run while it goes on: its steps, their levels, and what their expressions read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

AT_REST: Final = frozenset({"completed", "failed", "skipped", "cancelled"})
TOLERANT: Final = frozenset({"all_done", "any_failed"})


@attrs.frozen
class Error:
    """Why a step failed."""

    kind: str
    #: None: the rules do not say.
    name: str | None
    #: Everything that `retry_on` may call it.
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, kind: str, name: str | None) -> Error:
        """The failure of what other failures are inside of: it goes by the name of the first."""
        return cls(kind, name, frozenset({name} if name else ()))

    def view(self) -> dict[str, Any]:
        """What an expression reads of it."""
        return {"kind": self.kind, "name": self.name, "message": ""}


@attrs.define(eq=False)
class Node:
    """One path of a run."""

    #: In its level.
    id: str
    path: str
    step: Mapping[str, Any]
    level: Level
    #: Whether it is one item of a loop, or of a matrix.
    is_item: bool = False
    #: What the item is called, for its expressions.
    variables: Mapping[str, Any] = attrs.field(factory=dict)

    state: str = "pending"
    attempts: int = 0
    generation: int = 1
    #: Its join said yes, and the reset of a round does not ask it again.
    decided: bool = False
    #: Whether its condition was asked, which happens when it has stood in line.
    asked: bool = False
    #: Virtual time, in microseconds: of a back-off, a pause between rounds, a wait, a deadline, a timeout.
    due: int | None = None
    failures: int = 0
    round: int = 1
    previous: Any = None
    last: Any = None
    output: Any = None
    outputs: Any = None
    error: Error | None = None
    #: An optional step that failed.
    forgiven: bool = False
    #: When it came to rest, in the order of everything that happened.
    ended: int = 0
    inner: Level | None = None
    #: Of a loop: every item it ever had.
    past: dict[str, Node] = attrs.field(factory=dict)
    #: Of an item: the last generation of its loop that had it.
    round_seen: int = 0
    #: False: what the path shows is left over from before a reset, and no rule says how it is shown.
    live: bool = True
    #: Whether the number of resets follows from the rules.
    sure: bool = True
    visits: int = 0
    rejections: int = 0
    feedback: Any = None
    #: What an approval showed, and the decision that still holds if it shows the same after a rewind.
    shown: Any = None
    held: tuple[Any, Any] | None = None
    triggers: list[str] = attrs.field(factory=list)

    @property
    def kind(self) -> str:
        """What it is made of."""
        if not self.is_item and ("for_each" in self.step or "matrix" in self.step):
            return "loop"
        for verb, kind in (("call", "body"), ("steps", "group"), ("workflow", "child"), ("approval", "approval")):
            if verb in self.step:
                return kind
        return "timer" if "for" in self.step["wait"] else "event"

    @property
    def is_optional(self) -> bool:
        return bool(self.step.get("optional")) and not self.is_item

    @property
    def at_rest(self) -> bool:
        return self.state in AT_REST

    @property
    def required_failure(self) -> bool:
        return self.state == "failed" and not self.forgiven

    @property
    def is_tolerant(self) -> bool:
        return not self.is_item and self.level.shape == "graph" and self.step.get("trigger_rule") in TOLERANT

    def view(self) -> dict[str, Any]:
        """What `steps.<id>` reads."""
        seen: dict[str, Any] = {"state": self.state, "error": self.error.view() if self.error else None}
        if self.state == "completed":
            seen |= {"output": self.output, "outputs": self.outputs}
        return seen


@attrs.define(eq=False)
class Level:
    """Steps that stand side by side."""

    #: `graph`, `states` or `items`.
    shape: str
    #: The step whose level it is; None for the document's own and for handlers.
    container: Node | None = None
    #: Where `steps.x` is looked up next; None for the document's own.
    outer: Level | None = None
    #: The step that a compensation undoes, whose scope it has.
    undone: Node | None = None
    #: Of handlers.
    error: Mapping[str, Any] | None = None
    is_handler: bool = False
    nodes: dict[str, Node] = attrs.field(factory=dict)
    start: str | None = None
    token: str | None = None
    has_ended: bool = False
    visits: Counter[str] = attrs.field(factory=Counter)
    #: How many items may fail.
    allowance: int = 0

    @property
    def is_over(self) -> bool:
        return all(node.at_rest for node in self.nodes.values()) and (self.shape != "states" or self.has_ended)

    def failures(self) -> list[Node]:
        """Required steps that failed, the first one first."""
        failed = [node for node in self.nodes.values() if node.required_failure]
        return sorted(failed, key=lambda node: node.ended)

    def walk(self) -> Iterator[Node]:
        """Every step in it that means something now, in the order of the document."""
        for node in self.nodes.values():
            if node.live:
                yield node
                if node.inner is not None:
                    yield from node.inner.walk()

    def everything(self) -> Iterator[Node]:
        """Every step that was ever in it."""
        for node in self.nodes.values():
            yield node
            yield from node.past.values()
            for level in (node.inner, *(item.inner for item in node.past.values())):
                if level is not None:
                    yield from level.everything()

    def begin(self) -> None:
        """Put the token of a level of states on its first step."""
        if self.shape == "states":
            self.token, self.has_ended = self.start, False
            self.visits = Counter({self.start or "": 1})


def level_of(tree: Mapping[str, Any], container: Node | None, *, outer: Level | None, prefix: str) -> Level:
    """The level that a document or a group holds under `steps`."""
    start = tree.get("start")
    level = Level("graph" if start is None else "states", container, outer, start=start)
    for step_id, step in tree["steps"].items():
        level.nodes[step_id] = Node(step_id, prefix + step_id, step, level)
    level.begin()
    return level


class Steps(Mapping[str, Any]):
    """`steps` as an expression reads it: the own level, then those around it."""

    def __init__(self, level: Level | None) -> None:
        self._level = level

    def __getitem__(self, step_id: str) -> Any:
        level = self._level
        while level is not None:
            if level.shape != "items" and level.undone is None and step_id in level.nodes:
                return level.nodes[step_id].view()
            level = level.outer
        raise KeyError(step_id)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def names_of(node: Node) -> dict[str, Any]:
    """What the expressions of a step read besides `inputs` and `run`."""
    chain: list[Node] = []
    each: Node | None = node
    while each is not None:
        chain.append(each)
        each = each.level.undone or each.level.container
    names: dict[str, Any] = {"steps": Steps(node.level), "env": {}, "feedback": None}
    for each in reversed(chain):
        names |= each.variables
        if "repeat" in each.step and each.kind != "loop":
            names |= {"round": each.round, "previous": each.previous}
        elif each.level.shape == "states":
            names |= {"round": each.generation, "previous": each.last}
        if each.feedback is not None:
            names["feedback"] = each.feedback
        if each.level.is_handler:
            names["error"] = each.level.error
    return names
