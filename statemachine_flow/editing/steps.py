"""The steps of a document as data: where one stands, who names it, who reads it, and in which texts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Literal, final

import attrs

from statemachine_flow.compiler.source import Path
from statemachine_flow.editing.references import Reading, Rewording, Spot, spots_in_expression, spots_in_template
from statemachine_flow.editing.roles import role_at
from statemachine_flow.errors import UsageError

#: Fields of a step that hold no expression and no placeholder.
_SILENT: Final = frozenset(
    (
        *("id", "description", "needs", "trigger_rule", "matrix", "max_visits", "timeout", "optional", "delivery"),
        *("verify", "secrets", "output_schema", "start", "steps", "compensate", "workflow", "call", "transaction"),
        *("allow_exit", "isolation"),
    )
)
_HANDLERS: Final = ("on_failure", "finally")

_Kind = Literal["expression", "template"]
_Text = tuple[Path, str, _Kind]


@final
@attrs.frozen
class Place:
    """Where a step stands."""

    #: The way to it in the document; its last part is an index where the document lists its steps.
    path: Path
    id: str

    @property
    def level(self) -> Path:
        """The way to the level it belongs to."""
        return self.path[:-1]


def find(tree: Any, step: str) -> Place:
    """Where a step stands.

    Args:
        tree: the document's data.
        step: its id; in a group `group/step`, among handlers `@on_failure/step` or `@finally/step`.

    Raises:
        UsageError: there is no such step.
    """
    names = step.split("/")
    level: Path = ("steps",)
    if names[0].removeprefix("@") in _HANDLERS and names[0].startswith("@") and len(names) > 1:
        level = (names.pop(0)[1:],)
    path: Path = ()
    for index, name in enumerate(names):
        key = next((key for key, one in entries(at(tree, level)) if one == name), None)
        if key is None:
            raise UsageError(f"the document has no step '{step}'")
        path = (*level, key)
        if index < len(names) - 1:
            level = (*path, "steps")
    return Place(path, names[-1])


def entries(level: Any) -> Iterator[tuple[str | int, Any]]:
    """Key and id of every step of a level; nothing for what is no level."""
    if isinstance(level, Mapping):
        yield from ((key, key) for key in level)
    elif isinstance(level, list):
        yield from ((index, step.get("id")) for index, step in enumerate(level) if isinstance(step, Mapping))


def at(tree: Any, path: Path) -> Any:
    """What stands at a path; None if there is nothing."""
    for part in path:
        if isinstance(tree, Mapping):
            tree = tree.get(part)
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        else:
            return None
    return tree


def names_of(tree: Any, place: Place) -> Iterator[Path]:
    """Every text that is the step's id: in `needs`, in routes, in `start` and in `rewind_to`."""
    for key, _ in entries(at(tree, place.level)):
        step = (*place.level, key)
        for path in _names_in(at(tree, step), step):
            if at(tree, path) == place.id:
                yield path
    start = (*place.level[:-1], "start")
    if place.level[-1] == "steps" and at(tree, start) == place.id:
        yield start


def _names_in(step: Any, path: Path) -> Iterator[Path]:
    for key in ("needs", "next"):
        value = at(step, (key,))
        if isinstance(value, str):
            yield (*path, key)
        elif isinstance(value, Mapping):
            yield from ((*path, key, name) for name in value)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, Mapping):
                    yield from ((*path, key, index, part) for part in ("goto", "default"))
                else:
                    yield (*path, key, index)
    yield (*path, "approval", "on_reject", "rewind_to")


def readers_of(tree: Any, place: Place) -> Iterator[tuple[Path, str, tuple[Spot, ...]]]:
    """Every text that reads the step, and where in it."""
    for path, text, kind, readings in _texts_about(tree, place, ("steps", place.id), (place.id,)):
        find_spots = spots_in_expression if kind == "expression" else spots_in_template
        if spots := tuple(find_spots(text, readings)):
            yield path, text, spots


def rewordings(tree: Any, place: Place, new: str) -> dict[Path, Rewording]:
    """How every text reads that names or reads the step, once it is called `new`."""
    names = {path: Rewording(place.id, (Spot(0, len(place.id)),), new) for path in names_of(tree, place)}
    texts: dict[Path, Rewording] = {}
    for path, text, spots in readers_of(tree, place):
        known = texts[path].spots if path in texts else ()
        texts[path] = Rewording(text, tuple({*known, *spots}), new)
    return {**names, **texts}


def _texts_about(
    tree: Any, place: Place, reading: Reading, ids: Reading
) -> Iterator[tuple[Path, str, _Kind, Collection[Reading]]]:
    """Every text that can see a step, with how it would read it.

    Args:
        tree: the document's data.
        place: the step, or a group around it.
        reading: how its level reads the step.
        ids: the way from `place` to the step, by ids.
    """
    yield from ((*one, {reading}) for one in _level_texts(at(tree, place.level), place.level))
    container = place.level[:-1]
    if role_at(container) == "document":
        yield from ((*one, {reading}) for one in _document_texts(tree, place))
        return
    group = at(tree, container)
    yield from ((*one, {reading, ("result", *ids)}) for one in _own_texts(group, container))
    if role_at(container[:-1]) != "level":
        return  # a compensation, which nobody reads
    outer = Place(container, str(group["id"] if isinstance(container[-1], int) else container[-1]))
    for part in ("output",) if group.get("outputs") else ("output", "outputs"):
        yield from _texts_about(tree, outer, ("steps", outer.id, part, *ids), (outer.id, *ids))


def _document_texts(tree: Any, place: Place) -> Iterator[_Text]:
    """What sees the steps of a workflow besides those steps: its outputs, and its handlers."""
    document, key = place.level[:-1], place.level[-1]
    if key == "steps":
        outputs = (*document, "outputs")
        yield from _leaves(at(tree, outputs), outputs, "template")
        for handlers in ((*document, one) for one in _HANDLERS):
            if place.id not in {one for _, one in entries(at(tree, handlers))}:
                yield from _level_texts(at(tree, handlers), handlers)


def _level_texts(level: Any, path: Path) -> Iterator[_Text]:
    for key, _ in entries(level):
        yield from _step_texts(level[key], (*path, key))


def _step_texts(step: Any, path: Path) -> Iterator[_Text]:
    """The texts of a step and of everything in it, but for a whole workflow: that one reads its own steps."""
    yield from _own_texts(step, path)
    yield from _level_texts(at(step, ("steps",)), (*path, "steps"))
    if isinstance(at(step, ("compensate",)), Mapping):
        yield from _step_texts(step["compensate"], (*path, "compensate"))


def _own_texts(step: Any, path: Path) -> Iterator[_Text]:
    if not isinstance(step, Mapping):
        return
    for key, value in step.items():
        place = (*path, key)
        if key in ("when", "outputs"):
            yield from _leaves(value, place, "expression")
        elif key == "next":
            routes = value if isinstance(value, list) else []
            for index, route in enumerate(routes):
                yield from _leaves(at(route, ("when",)), (*place, index, "when"), "expression")
        elif key in ("repeat", "retry"):
            part = "until" if key == "repeat" else "retry_if"
            yield from _leaves(at(value, (part,)), (*place, part), "expression")
        elif key not in _SILENT:
            yield from _leaves(value, place, "template")


def _leaves(value: Any, path: Path, kind: _Kind) -> Iterator[_Text]:
    if isinstance(value, str):
        yield path, value, kind
    elif isinstance(value, Mapping | list):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _leaves(item, (*path, key), kind)


def rewired(tree: Any, place: Place, names: list[Path]) -> list[tuple[Path, Any]]:
    """What to set, in the order to do it, so that nobody names a step any more; None for what is to go."""
    removed = at(tree, place.path)
    needs = [one for one in removed.get("needs", []) if one != place.id]
    changes: dict[Path, Any] = {}
    for path in names:
        where = next((index for index, part in enumerate(path) if index > len(place.level) and part == "needs"), None)
        if where is not None:
            key = path[: where + 1]
            old = at(tree, key)
            new = [other for one in old for other in (needs if one == place.id else [one])]
            changes[key] = list(dict.fromkeys(new)) or None
        elif isinstance(following := removed.get("next", "end"), str):
            changes[path] = following
        else:
            raise UsageError(f"the step '{place.id}' has several ways on, so routes to it cannot be led past it")
    return list(changes.items())
