"""Hypothesis strategies for whole workflows with the world they run in: valid, small, and full of interplay.

Documents say `max_parallel = 1` and every duration in them is another one, so that what happens does not depend on
chance; a child run is only begun where nothing else is under way. Which rules two steps may hang on at once is left
to Hypothesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
from hypothesis import strategies as st

from tests.reference.parts import Parts, Scope
from tests.reference.script import Script

#: Ids of each depth, so that sibling groups share them and no level hides one around it.
_IDS: Final = ("abcdefgh", "klmnop", "stuvwx", "ijqr")
_DEEPEST: Final = 3
_MOST_STEPS: Final = 16
_RULES: Final = ("all_done", "any_failed", "none_failed", "any_success")


@attrs.frozen
class Example:
    """A workflow and its world."""

    tree: dict[str, Any]
    script: Script


class Writer(Parts):
    """Writes one document, level by level."""

    #: How many steps may still be written.
    left = _MOST_STEPS

    def group(self, path: str, scope: Scope) -> dict[str, Any]:
        inner = attrs.evolve(scope, depth=scope.depth + 1, path=f"{path}/")
        step: dict[str, Any] = self.states(inner) if self.chance(3) else {"steps": self.graph(inner)}
        if self.chance(3):
            step["retry"] = self.retry()
        if self.chance(3):
            step["timeout"] = self.duration()
        if self.chance(4):
            step["outputs"] = {"n": "len(result)"}
        return step

    def step(
        self, step_id: str, scope: Scope, *, before: Sequence[str] = (), in_states: bool = False
    ) -> tuple[str, dict[str, Any]]:
        """Its kind, and all of it but its place in the level."""
        self.left -= 1
        kinds = ["call"] * 6 + ["wait", "loop", "loop"]
        if scope.depth < _DEEPEST and self.left > 1:
            kinds += ["group"] * 3
        if not scope.is_handler:
            kinds += ["approval"] * 2
        kind = self.pick(kinds)
        path = scope.path + step_id
        if kind == "loop":
            return self.loop(path, scope)
        if kind == "approval":
            return kind, self.approval(path, scope, before)
        if kind == "wait":
            return self.wait(path, may_signal=not scope.is_handler)
        step = self.repeated(kind, path, scope, has_names=not in_states)
        if not scope.is_handler and self.chance(3):
            own = f"default({self.number(step_id, kind)}, 0)"
            step["compensate"] = {"call": "f", "with": {"v": "${{ " + own + " }}", "why": "${{ error.step }}"}}
            self.outcomes[f"@compensate/{path}"] = [self.outcome()]
        return kind, step

    def repeated(self, kind: str, path: str, scope: Scope, *, has_names: bool = True) -> dict[str, Any]:
        """A body or a group, carried out once or in rounds."""
        if not self.chance(5):
            if kind == "call" and not has_names and self.chance(3):
                scope = attrs.evolve(scope, words=(*scope.words, "round", "default(previous.n, null)"))
            return self.call(path, scope) if kind == "call" else self.group(path, scope)
        inner = attrs.evolve(scope, words=(*scope.words, "round", "default(previous.n, null)"))
        if kind == "call":
            step = self.call(path, inner)
            until = self.pick(["result.n > 1", "default(result.n, 3) > 2", "round >= 2", "previous != null"])
        else:
            step = self.group(path, inner)
            until = self.pick(["round >= 2", "len(result) > 1"])
        step["repeat"] = {"until": until, "max": self.pick([2, 3])}
        if self.chance(3):
            step["repeat"]["delay"] = self.duration()
        return step

    def loop(self, path: str, scope: Scope) -> tuple[str, dict[str, Any]]:
        name = f"it{scope.depth}"
        if not scope.has_matrix and self.chance(4):
            over: dict[str, Any] = {"matrix": self.pick([{"p": [1, 2], "q": ["x", "y"]}, {"p": [1]}])}
            words: tuple[str, ...] = ("matrix.p", "index")
        else:
            lists: list[Any] = [[1, 2], [1, 2], [1, 2], ["b", "a"], [0, 1, 2, 3], [], "${{ inputs.n }}"]
            lists += [
                "${{ range(default(steps." + each + ".output.n, 2)) }}"
                for each, kind in scope.reads.items()
                if kind == "call"
            ]
            loop: dict[str, Any] = {"items": self.pick(lists), "as": name}
            if self.chance(3):
                loop["key"] = self.pick(["k${{ " + name + " }}", "${{ " + name + " }}", "${{ index // 2 }}"])
            if self.chance(3):
                loop["max_parallel"] = self.pick([1, 2])
            if self.chance(2):
                loop["max_failures"] = self.pick([1, 2, "50%"])
            over, words = {"for_each": loop}, (name, "index")
        inner = attrs.evolve(scope, words=(*scope.words, *words), has_matrix=scope.has_matrix or "matrix" in over)
        kinds = ["call", "call", "wait"] + (["group"] if scope.depth < _DEEPEST and self.left > 1 else [])
        kind = self.pick(kinds if scope.is_handler else [*kinds, "approval"])
        if kind == "approval":
            return "loop", over | self.approval(f"{path}[]", inner, ())
        if kind == "wait":
            step = over | self.wait(f"{path}[]", may_signal=not scope.is_handler)[1]
            if "event" in step["wait"] and self.chance(2):
                step["wait"]["key"] = "${{ index }}"
            return "loop", step
        step = over | self.repeated(kind, f"{path}[]", inner)
        if not scope.is_handler and kind == "call" and self.chance(3):
            step["compensate"] = {"call": "f", "with": {"v": "${{ index }}"}}
        return "loop", step

    def ids(self, scope: Scope, at_least: int = 1) -> str:
        ids = _IDS[scope.depth]
        return ids[
            : self.draw(st.integers(at_least, max(at_least, min(len(ids), self.left, 5 if scope.depth == 0 else 3))))
        ]

    def graph(self, scope: Scope, ids: str = "") -> dict[str, Any]:
        steps: dict[str, Any] = {}
        kinds: dict[str, str] = {}
        before: dict[str, set[str]] = {}
        for step_id in ids or self.ids(scope):
            if steps and self.left <= 0:
                break
            needs = sorted(each for each in steps if self.chance(3) or (each == max(steps) and self.chance(2)))
            before[step_id] = {*needs}.union(*(before[need] for need in needs))
            reads = scope.reads | {each: kinds[each] for each in sorted(before[step_id])}
            kind, step = self.step(step_id, attrs.evolve(scope, reads=reads), before=sorted(before[step_id]))
            kinds[step_id] = _named(kind, step)
            if needs:
                step["needs"] = needs
            is_rewinding = kind == "approval" and isinstance(step["approval"].get("on_reject"), dict)
            if needs and not is_rewinding and self.chance(3):
                step["trigger_rule"] = self.pick(_RULES)
            self.add_ifs(step, attrs.evolve(scope, reads=reads))
            steps[step_id] = step
        return steps

    def add_ifs(self, step: dict[str, Any], scope: Scope) -> None:
        if self.chance(5):
            step["when"] = self.condition(scope)
        if self.chance(4):
            step["optional"] = True

    def states(self, scope: Scope) -> dict[str, Any]:
        """A level of states: steps in a row, with ways back."""
        ids = self.ids(scope, 2)
        steps: dict[str, Any] = {}
        kinds: dict[str, str] = {}
        for step_id in ids:
            reads = scope.reads | {each: _named(kind, steps[each]) for each, kind in kinds.items() if self.chance(2)}
            if scope.depth == 0 and self.chance(8):
                kind, step = "child", self.child(len(steps))
            else:
                kind, step = self.step(step_id, attrs.evolve(scope, reads=reads), in_states=True)
            self.add_ifs(step, attrs.evolve(scope, reads=reads))
            kinds[step_id], steps[step_id] = kind, step
        limited: set[str] = set()
        targets: dict[str, set[str]] = {}
        for index, (step_id, step) in enumerate(steps.items()):
            onward = ids[index + 1] if index + 1 < len(ids) else "end"
            other = self.pick([*ids, "end"]) if self.chance(2) else onward
            self.add_routes(step, kinds[step_id], onward, other)
            targets[step_id] = {onward, other}
            if other != "end" and other <= step_id:
                limited.add(other)
        for step_id in sorted(limited):
            steps[step_id]["max_visits"] = self.pick([2, 3])
        for step_id, step in steps.items():
            if targets[step_id] & limited:  # what becomes of a step that does not run and cannot move on is not said
                step.pop("when", None)
                step.pop("optional", None)
        return {"start": ids[0], "steps": steps}

    def add_routes(self, step: dict[str, Any], kind: str, onward: str, other: str) -> None:
        """How the token leaves: to the step that follows, or elsewhere."""
        first, second = (onward, other) if self.chance(2) else (other, onward)
        if onward == other:
            if onward != "end" or self.chance(2):
                step["next"] = onward
        elif kind == "approval":
            step["next"] = {step["approval"].get("choices", ["approve"])[0]: first, "default": second}
        elif kind in {"call", "event"} and self.chance(2):
            step["next"] = {**dict.fromkeys(self.pick([["0", "2", "4"], ["1", "3"]]), first), "default": second}
        else:
            when = "inputs.n > 5"
            if kind in {"call", "event"}:
                forgiving = "when" in step or "optional" in step or self.chance(2)
                when = "default(result.n, 0) > 1" if forgiving else "result.n > 1"
            step["next"] = [{"when": when, "goto": first}, {"default": second}]

    def document(self) -> dict[str, Any]:
        draw_states = self.chance(3)
        tree: dict[str, Any] = {"dsl": "1", "name": "w", "max_parallel": 1}
        tree["inputs"] = {"n": {"type": "integer", "default": 2}}
        tree |= self.states(Scope()) if draw_states else {"steps": self.graph(Scope())}
        if not draw_states and self.chance(6):
            tree["steps"]["z"] = {
                **self.child(9),
                "needs": sorted(tree["steps"]),
                "trigger_rule": self.pick(["all_done", "all_success"]),
            }
            if tree["steps"]["z"]["trigger_rule"] == "all_success":
                del tree["steps"]["z"]["trigger_rule"]
        for name, of in (("continue_on_error", 4), ("compensate", 2)):
            if self.chance(of):
                tree[name] = True
        if self.chance(6):
            tree["defaults"] = {"retry": self.retry()}
        for name, words in (
            ("on_failure", ("error.step", "error.kind")),
            ("finally", ("default(error.kind, 'none')",)),
        ):
            if self.chance(3):
                scope = Scope(
                    2, f"@{name}/", dict.fromkeys(tree["steps"], "other"), ("inputs.n", *words), is_handler=True
                )
                tree[name] = self.graph(scope)
        shown = ", ".join(f"steps.{step_id}.state" for step_id in tree["steps"])
        tree["outputs"] = {"states": "${{ [" + shown + "] }}"}
        if self.chance(4):
            tree["outputs"]["first"] = "${{ steps." + self.pick(sorted(tree["steps"])) + ".output }}"
        return tree


def _named(kind: str, step: dict[str, Any]) -> str:
    """A call that declares its outputs is read by them."""
    return "named" if kind == "call" and "outputs" in step else kind


@st.composite
def examples(draw: st.DrawFn, *, may_count: bool = True) -> Example:
    """A workflow with everything that happens to it.

    Args:
        draw: from Hypothesis.
        may_count: whether it may depend on the numbers of attempts, which differ if some are interrupted.
    """
    writer = Writer(draw, may_count=may_count)
    tree = writer.document()
    early = draw(st.lists(st.sampled_from(writer.events), max_size=2)) if writer.events else []
    return Example(tree, Script(writer.outcomes, writer.decisions, writer.sent, early))
