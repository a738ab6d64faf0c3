"""What is edited in the records that a forked run begins with: inputs, and outputs of steps that completed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

import attrs
import msgspec

from statemachine_flow.engine.copies import Entry
from statemachine_flow.engine.paths import planned_at
from statemachine_flow.errors import StepError, UsageError
from statemachine_flow.journal import ABSENT, Created
from statemachine_flow.output_schema import conform
from statemachine_flow.plan import Plan
from statemachine_flow.values import decode_value, encode_value

#: How many places an error lists that could be set.
_SHOWN: Final = 20


@attrs.frozen
class _Place:
    """One value that can be set, and what can be set in it."""

    #: As in `inputs.x`, `steps.a.output`, `steps.a.outputs`.
    name: str
    #: Where the record stands, and which of its fields.
    entry: int
    field: str

    def holds(self, path: str) -> bool:
        """Whether a path leads to or into it; of declared outputs, to one of them."""
        return path.startswith(f"{self.name}.") or (path == self.name and self.field == "output")


@final
class Edits:
    """The values that a copy changes.

    Args:
        wanted: path -> value: `inputs.NAME`, `steps.PATH.output` or `steps.PATH.outputs.NAME`, and further keys of
            mappings and numbers of lists behind a dot each.
        plan: the run's plan.
        entries: the records that are copied, `run.create` first.
        blob: gives the bytes of a large output.
        hide: leaves the secrets of the run out of a value.

    Raises:
        UsageError: `usage.edit`: there is nothing under a path, or a value that cannot be kept.
        StepError: `step.schema`: an output that breaks its step's schema.
    """

    def __init__(
        self,
        wanted: Mapping[str, Any],
        plan: Plan,
        entries: Sequence[Entry],
        *,
        blob: Callable[[str], bytes],
        hide: Callable[[Any], Any],
    ) -> None:
        self._plan = plan
        self._entries = list(entries)
        self._blob = blob
        self._hide = hide
        self._places = _places(entries)
        #: Name of a secret input -> its new value, which no journal gets.
        self.secrets: dict[str, str] = {}
        #: Name of an input -> its new value.
        self.inputs: dict[str, Any] = {}
        self.paths = tuple(wanted)
        kept: dict[str, Any] = {}
        for path, value in wanted.items():
            kept |= self._set(path, value)
        #: Tells edits apart; secrets have no part in it.
        self.digest = _digest(kept) if kept else ""

    def apply(self) -> tuple[Created, list[Entry]]:
        """What the copy begins with, inputs left as they were, and the records behind that."""
        return self._entries[0].data, self._entries[1:]

    def _set(self, path: str, value: Any) -> dict[str, Any]:
        """Set one value; what of it tells these edits from others."""
        noun, _, rest = path.partition(".")
        name, _, inner = rest.partition(".")
        declared = self._plan.definition.inputs.get(name) if noun == "inputs" else None
        if declared is not None and not declared.secret:
            before = self.inputs.get(name, decode_value(self._entries[0].data.inputs).get(name))
            self.inputs[name] = self._changed(path, before, inner, value)
            return {path: value}
        if declared is not None and not inner:
            self.secrets[name] = value
            return {path: None}
        fitting = [place for place in self._places if place.holds(path)]
        if not fitting:
            raise self._nothing(path)
        self._set_output(max(fitting, key=lambda place: len(place.name)), path, value)
        return {path: value}

    def _set_output(self, place: _Place, path: str, value: Any) -> None:
        entry = self._entries[place.entry]
        before = decode_value(self._encoded(entry, place.field))
        after = self._changed(path, before, path[len(place.name) + 1 :], value)
        planned = planned_at(self._plan, entry.step or "")
        if place.field == "output" and planned is not None and planned.step.output_schema is not None:
            conform(planned.step.output_schema, after)
        fields: dict[str, Any] = {place.field: msgspec.Raw(encode_value(after))}
        if place.field == "output":
            fields["blob"] = None
        data = msgspec.structs.replace(entry.data, **fields)
        self._entries[place.entry] = msgspec.structs.replace(entry, data=data)

    def _encoded(self, entry: Entry, field: str) -> bytes | msgspec.Raw:
        if field == "output" and entry.data.blob is not None:
            return self._blob(entry.data.blob)
        found: msgspec.Raw = getattr(entry.data, field)
        return found

    def _changed(self, path: str, before: Any, rest: str, value: Any) -> Any:
        """A value with another one in it."""
        try:
            encode_value({"value": value})
            value = self._hide(value)
        except StepError as error:
            raise UsageError(f"'{path[:200]}' cannot be set: {error.message}", kind="usage.edit") from error
        if not rest:
            return value
        *outer, last = rest.split(".")
        try:
            inner = before
            for key in outer:
                inner = inner[_key(inner, key)]
            if isinstance(inner, dict):
                inner[last] = value
            else:
                inner[_key(inner, last)] = value
        except (LookupError, TypeError, ValueError):
            raise self._nothing(path) from None
        return before

    def _nothing(self, path: str) -> UsageError:
        inputs = [f"inputs.{name}" for name in self._plan.definition.inputs]
        names = [*inputs, *(f"{place.name}.…" if place.field == "outputs" else place.name for place in self._places)]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        hint = f"what can be set: {', '.join(names[:_SHOWN])}{more}" if names else "there is nothing to be set yet"
        return UsageError(f"there is no '{path[:200]}' to be set", kind="usage.edit", hint=hint)


def _digest(kept: Mapping[str, Any]) -> str:
    return hashlib.blake2b(encode_value(dict(sorted(kept.items()))), digest_size=16).hexdigest()


def _key(inner: Any, key: str) -> Any:
    """A key as its container takes it; lists take numbers."""
    if isinstance(inner, dict):
        return key
    if not isinstance(inner, list) or not (key.isascii() and key.isdigit()):
        raise TypeError(key)
    return int(key)


def _places(entries: Sequence[Entry]) -> list[_Place]:
    """The outputs that stand in the records: those of the last completion of each step that is still completed."""
    last: dict[str, int] = {}
    for place, entry in enumerate(entries):
        if entry.kind == "step.complete" and entry.step is not None:
            last[entry.step] = place
        elif entry.kind == "step.reset" and entry.step is not None:
            last.pop(entry.step, None)
    found: list[_Place] = []
    for step, place in last.items():
        data = entries[place].data
        if data.output is not ABSENT or data.blob is not None:
            found.append(_Place(f"steps.{step}.output", place, "output"))
        if data.outputs is not ABSENT:
            found.append(_Place(f"steps.{step}.outputs", place, "outputs"))
    return found
