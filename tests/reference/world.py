"""What happens to a run of the reference from outside, when nothing goes on inside: signals, decisions, time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from tests.reference import ends
from tests.reference.begins import signal_of
from tests.reference.nodes import Error, Level, Node
from tests.reference.script import Script, payload

if TYPE_CHECKING:
    from tests.reference.interpreter import Interpreter

#: Of attempts and changes; a workflow beyond it is too long to be an example.
MOST_CHANGES: Final = 3000
_TIMED_OUT: Final = Error("step.timeout", "TimeoutError", frozenset({"TimeoutError"}))


class Unbounded(Exception):  # noqa: N818 - no error of the workflow
    """The run is longer than a test wants to wait for."""


@attrs.frozen
class Act:
    """Something the world did."""

    kind: Literal["advance", "decide", "signal"]
    #: Of a decision: the path. Of a signal: its name.
    target: str = ""
    #: Of a decision: what was decided. Of a signal: its key.
    choice: str | None = None
    payload: Any = None
    #: How far the clock jumps.
    microseconds: int = 0


@attrs.define
class World:
    """What a run shares with its child runs: the script, the clock, the signals."""

    script: Script
    now: int = 0
    ticks: int = 0
    acts: list[Act] = attrs.field(factory=list)
    #: Signals nobody took yet: name, key, payload.
    signals: list[tuple[str, str | None, Any]] = attrs.field(factory=list)
    early: list[str] = attrs.field(factory=list)

    def tick(self) -> int:
        """The next number in the order of everything that happens."""
        self.ticks += 1
        if self.ticks > MOST_CHANGES:
            raise Unbounded
        return self.ticks


def act(run: Interpreter, level: Level) -> bool:
    """A decision or a signal, if somebody waits for one that comes, the first in the document; else time passes."""
    world = run.world
    if world.early and not run.is_child:
        name = world.early.pop(0)
        _send(run, level, name, None, payload(f"early {name}", 1))
        return True
    for node in level.walk():
        if node.state != "waiting":
            continue
        if node.kind == "approval":
            choice = _choice(run, node)
            if choice != "silent":
                world.acts.append(Act("decide", node.path, choice))
                decide(run, node, choice, "tester")
                return True
        elif node.kind == "event" and (node.due is None or world.script.sends(node.path, node.visits)):
            _send(run, level, *signal_of(run, node), payload(node.path, node.visits))
            return True
    return _time_passes(run, level)


def _send(run: Interpreter, level: Level, name: str, key: str | None, value: Any) -> None:
    run.world.acts.append(Act("signal", name, key, value))
    for node in level.walk():
        if node.state == "waiting" and node.kind == "event" and signal_of(run, node) == (name, key):
            ends.finish(run, node, value)
            return
    run.world.signals.append((name, key, value))


def _choice(run: Interpreter, node: Node) -> str:
    choice = run.world.script.decision(node.path, node.visits)
    choices: list[str] = node.step["approval"].get("choices", ["approve", "reject"])
    if choice in choices or (choice == "silent" and node.due is not None):
        return choice
    return choices[0]


def decide(run: Interpreter, node: Node, choice: str, by: str) -> None:
    """Somebody decided, or the deadline did."""
    question = node.step["approval"]
    output = {"decision": choice, "by": by, "at": None, "reason": "", "digest": None}
    on_reject = question.get("on_reject", "fail")
    node.held = None
    if "choices" in question or choice == "approve":
        if choice == "approve" and node.level.shape == "graph":
            node.held = (node.shown, output)
        ends.finish(run, node, output)
    elif on_reject == "skip":
        ends.skip(run, node)
    elif on_reject == "fail" or node.rejections + 1 >= on_reject.get("max_rounds", 3):
        ends.fail(run, node, Error("step.rejected", None))
    else:
        node.rejections += 1
        ends.rewind(run, node, on_reject["rewind_to"], output)


def _time_passes(run: Interpreter, level: Level) -> bool:
    """Jump to the next timer; what is due then falls due in the order of the document, before anything begins."""
    timers = [node for node in level.walk() if node.due is not None]
    if not timers:
        return False
    now = min(node.due for node in timers if node.due is not None)
    run.world.acts.append(Act("advance", microseconds=now - run.world.now))
    run.world.now = now
    for node in timers:
        if node.due is not None and node.due <= now:
            node.due = None
            _fall_due(run, node)
            run.settle(level)
    return True


def _fall_due(run: Interpreter, node: Node) -> None:
    if node.state != "waiting":
        return  # a back-off or a pause between rounds: it may begin
    if node.kind == "timer":
        ends.finish(run, node, None)
    elif node.kind == "event":
        if node.step["wait"].get("then", "fail") == "fail":
            ends.fail(run, node, _TIMED_OUT)
        else:
            ends.finish(run, node, None)
    elif node.kind == "approval":
        choice = node.step["approval"]["deadline"].get("then", "reject")
        if choice == "fail":
            ends.fail(run, node, _TIMED_OUT)
        else:
            decide(run, node, choice, "deadline")
    else:
        for each in list(node.inner.nodes.values() if node.inner else ()):
            ends.cancel(run, each)
        ends.fail_attempt(run, node, _TIMED_OUT)
