"""What a run has open: steps by path, and the scopes they stand in. Data only; the modules above have the rules.

A *node* is one step of one run under one path. A *scope* is one level of a node that is under way: its graph of
steps, its token among states, the items of its loop, or a queue of compensations. The workflow's own level is the
root scope, which belongs to no node.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, final

from statemachine_flow.journal import ErrorInfo
from statemachine_flow.plan.levels import Level, PlannedStep

ScopeKind = Literal["graph", "states", "items", "queue"]

#: Characters of a key that would mean something else in a path, or to a terminal -> their UTF-8 bytes in hexadecimal.
_ESCAPED = {
    ord(char): "".join(f"%{byte:02X}" for byte in char.encode())
    for char in ("%", "[", "]", *map(chr, (*range(0x20), *range(0x7F, 0xA0))))
}


def item_path(path: str, key: str) -> str:
    """The path of an item of a loop.

    Example:
        >>> item_path("review", "src/a[1].py")
        'review[src/a%5B1%5D.py]'
    """
    return f"{path}[{key.translate(_ESCAPED)}]"


@final
class Node:
    """One step of one run.

    Args:
        path: its name in the journal.
        step: what is planned for it.
        scope: where it stands.
        order: its place in the document, seen from the root; of several ready nodes the smallest begins.
        place: of an item, its place in the list; -1 for a step, a loop as a whole included.
    """

    __slots__ = ("dead", "in_line", "inner", "is_kept", "is_loop", "order", "path", "place", "reader", "scope", "step")

    def __init__(self, path: str, step: PlannedStep, scope: Scope, order: tuple[int, ...], place: int = -1) -> None:
        self.path = path
        self.step = step
        self.scope = scope
        self.order = order
        self.place = place
        #: Whether it stands for all items of a loop.
        self.is_loop = step.is_loop and place < 0 and scope.kind != "queue"
        #: What is open inside it.
        self.inner: Scope | None = None
        #: Of a compensation: the node that it undoes, whose names it reads.
        self.reader: Node | None = None
        #: It goes on while its scope is built anew.
        self.is_kept = False
        #: It is in a queue to begin.
        self.in_line = False
        #: Another node stands for its path by now.
        self.dead = False

    def scopes(self) -> Iterator[Scope]:
        """The scopes it stands in, the nearest first; the last is the root, or that of a handler."""
        scope: Scope | None = self.scope
        while scope is not None:
            yield scope
            scope = scope.node.scope if scope.node is not None else None

    def __repr__(self) -> str:
        return f"<Node {self.path}>"


@final
class Scope:
    """One level of one node that is under way.

    Args:
        kind: how it goes about its steps.
        node: what it belongs to; None for the root and for handlers.
        level: its steps; for items and compensations that of the step they are made from.
        prefix: begins the path of everything in it.
        order: its place in the document.
    """

    __slots__ = (
        "active",
        "alive",
        "bindings",
        "blocked",
        "end",
        "failed",
        "is_over",
        "items",
        "keys",
        "kind",
        "level",
        "missing",
        "next_item",
        "node",
        "nodes",
        "open",
        "order",
        "outer",
        "prefix",
        "queue",
        "state",
        "stopping",
    )

    def __init__(
        self, kind: ScopeKind, node: Node | None, level: Level | None, prefix: str, order: tuple[int, ...]
    ) -> None:
        self.kind: ScopeKind = kind
        self.node = node
        self.level = level
        self.prefix = prefix
        self.order = order
        #: The scope around it; of handlers the root, so that they can read its steps.
        self.outer: Scope | None = node.scope if node is not None else None
        self.nodes: dict[str, Node] = {}
        #: Members that are not at rest.
        self.open = 0
        #: Required members that failed.
        self.failed = 0
        #: Attempts and child runs under way in it, those inside its members included.
        self.alive = 0
        #: Nothing new begins but what is tolerant.
        self.stopping = False
        #: Not even that: why the whole is given up.
        self.end: ErrorInfo | None = None
        self.is_over = False
        # A graph: per step, needs that are not at rest yet; and the first need that keeps it from running.
        self.missing: list[int] = []
        self.blocked: dict[int, tuple[str, str]] = {}
        # States: the token, which the level's machine moves.
        self.state = ""
        # A loop: its items with their keys, the next one to begin, and how many are under way.
        self.items: list[Any] = []
        self.keys: tuple[str, ...] = ()
        self.next_item = 0
        self.active = 0
        # Compensations, last first; items of a loop whose time has come again.
        self.queue: list[Node] = []
        #: Loop names -> values that expressions in it may read.
        self.bindings: dict[str, Any] = {}

    def path(self, step_id: str) -> str:
        """The path of a step of its level."""
        return self.prefix + step_id

    @property
    def allowance(self) -> int:
        """How many of its items may fail; in what is no loop, none."""
        each = self.node.step.step.for_each if self.node is not None else None
        most = each.max_failures if each is not None else 0
        if isinstance(most, int):
            return most
        return int(len(self.keys) * float(most.rstrip("%")) / 100 + 1e-9)

    def __repr__(self) -> str:
        return f"<Scope {self.kind} {self.prefix!r} open={self.open}>"
