"""Which records of a run its rerun takes over: all but those of the step that is named and of what comes after it.

On a level of a graph that is the step and everything that needs it; on a level of states, everything since the token
came to the step for the last time. What holds the step is open again, and what comes after that goes, too. As in a
retry, what failed, was cancelled or was undone beside it begins anew as well, with all that needs it; so do the
handlers of the end of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from statemachine_flow.engine.copies import Entry
from statemachine_flow.engine.paths import around, planned_at
from statemachine_flow.errors import NotFoundError, UsageError
from statemachine_flow.journal import RunFold, Signalled
from statemachine_flow.lifecycle import STEP_AT_REST
from statemachine_flow.plan import Level, Plan

_COMPENSATE: Final = "@compensate/"


@final
class Rerun:
    """What is taken over of a run.

    Args:
        plan: its plan.
        fold: what its records add up to.
        entries: its records, in order.
        step: the path of the step from which on it is carried out anew.

    Raises:
        NotFoundError: the run has no such step, or has not come to it.
        UsageError: it is a handler.
    """

    def __init__(self, plan: Plan, fold: RunFold, entries: Sequence[Entry], step: str) -> None:
        self._plan = plan
        self._fold = fold
        self._entries = entries
        #: Steps that begin anew, with all that is inside them.
        self._dropped: set[str] = set()
        #: What holds the step and is open again -> number of the record with which it was opened.
        self._opened: dict[str, int] = {}
        #: Numbers of further records that are not taken over.
        self._left_out: set[int] = set()
        self._undone = {
            path.removeprefix(_COMPENSATE)
            for path, known in fold.steps.items()
            if path.startswith(_COMPENSATE) and known.state == "completed"
        }
        self._require(step)
        for holder in around(step):
            self._open(holder)
            self._look_around(holder, is_last=False)
        self._look_around(step, is_last=True)

    def kept(self) -> list[Entry]:
        """The records that are taken over, in order; signals as far as what took them is taken over, or nobody did."""
        kept = [entry for entry in self._entries if entry.step is not None and self._keeps(entry, entry.step)]
        heard = {entry.data.signal for entry in kept if getattr(entry.data, "signal", None) is not None}
        heard |= {seq for signals in self._fold.signals.values() for seq, _ in signals}
        said = [entry for entry in self._entries if isinstance(entry.data, Signalled) and entry.seq in heard]
        return sorted((*kept, *said), key=lambda entry: entry.seq)

    def opens(self, entry: Entry) -> bool:
        """Whether with this record something was opened that is open again, so that its time begins anew."""
        return self._opened.get(entry.step or "") == entry.seq

    def _require(self, step: str) -> None:
        if step.startswith("@"):
            raise UsageError(f"'{step[:200]}' belongs to the end of the run, which begins anew in any case")
        stands_alone = next(around(step), None) is None and self._plan.level.start is None
        if step not in self._fold.steps and not (stands_alone and self._plan.level.get(step) is not None):
            raise NotFoundError(f"the run has no step {step[:200]!r} that was begun", run=self._fold.id)

    def _keeps(self, entry: Entry, step: str) -> bool:
        if step.startswith("@") or entry.seq in self._left_out:
            return False
        if entry.seq > self._opened.get(step, entry.seq):
            return False
        return step not in self._dropped and self._dropped.isdisjoint(around(step))

    def _open(self, holder: str) -> None:
        """What holds the step waits again for what is inside it."""
        if self._fold.state_of(holder) in STEP_AT_REST:
            self._opened[holder] = self._last("step.wait", holder)

    def _last(self, kind: str, step: str) -> int:
        """Number of the last record of a kind about a step; 0 if there is none."""
        return max((entry.seq for entry in self._entries if (entry.kind, entry.step) == (kind, step)), default=0)

    # --- what stands beside a step

    def _look_around(self, path: str, *, is_last: bool) -> None:
        """Decide about what stands beside `path`, which is the step itself or holds it."""
        if is_last:
            self._dropped.add(path)
        if path.endswith("]"):
            items = f"{path[: path.rindex('[')]}["
            found = (step for step in self._fold.steps if step.startswith(items) and step.endswith("]"))
            self._dropped |= {step for step in found if self._is_broken(step) and step != path}
            return
        holder = max((one for one in around(path) if path.startswith(f"{one}/")), key=len, default="")
        planned = planned_at(self._plan, holder) if holder else None
        level = self._plan.level if planned is None else planned.level
        assert level is not None  # noqa: S101 - the step was begun there
        prefix = f"{holder}/" if holder else ""
        if level.start is None:
            self._look_around_graph(level, prefix, path, is_last=is_last)
        else:
            self._dropped.discard(path)
            self._look_around_states(level, prefix, path, is_last=is_last)

    def _is_broken(self, path: str) -> bool:
        """Whether a step begins anew though it does not come after the one that was named."""
        known = self._fold.steps.get(path)
        if known is None:
            return False
        is_undone = path in self._undone or any(one.startswith((f"{path}/", f"{path}[")) for one in self._undone)
        return is_undone or known.state == "cancelled" or (known.state == "failed" and not known.forgiven)

    def _look_around_graph(self, level: Level, prefix: str, path: str, *, is_last: bool) -> None:
        for planned in level.steps:
            step = prefix + planned.id
            if step == path or self._is_broken(step):
                behind = {prefix + one.id for one in level.downstream(planned.id)}
                self._dropped |= behind if step != path or is_last else behind - {path}

    def _look_around_states(self, level: Level, prefix: str, path: str, *, is_last: bool) -> None:
        """One token goes through the level, so what came later in time came after the step."""
        here = [entry for entry in self._entries if entry.step is not None and entry.step.startswith(prefix)]
        here = [entry for entry in here if not (entry.step or "").startswith("@")]
        if not is_last:
            end = self._fold.steps[path].ended_seq if path in self._opened else self._fold.seq
            inside = (f"{path}/", f"{path}[")
            self._left_out |= {
                entry.seq for entry in here if entry.seq > end and not (entry.step or "").startswith(inside)
            }
            return
        came = self._came(level, prefix, path, here)
        begins = True  # what was there before begins anew when the token comes again: that is kept
        for entry in here:
            if entry.seq > came:
                begins = begins and entry.kind == "step.reset"
                if not begins:
                    self._left_out.add(entry.seq)

    def _came(self, level: Level, prefix: str, path: str, here: Sequence[Entry]) -> int:
        """Number of the record with which the token came to a step for the last time."""
        opened = self._last("step.start", prefix[:-1]) if prefix else 0
        name = path.removeprefix(prefix)
        moves = [
            entry.seq
            for entry in here
            if getattr(entry.data, "next", None) == name
            and "/" not in (entry.step or "")[len(prefix) :]
            and entry.seq > opened
        ]
        if moves:
            return moves[-1]
        if name != level.start:
            raise NotFoundError(f"the run has not come to step {path[:200]!r}", run=self._fold.id)
        return opened
