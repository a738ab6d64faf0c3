"""Which step of one document is which of another, when its id has changed; works on canonical trees. Pure."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

Tree = Mapping[str, Any]

#: How alike two steps have to be, of 1, to count as one that was renamed and changed.
_ALIKE: Final = 0.8
#: Comparing texts is slow: of very many steps that came and went only the first ones are looked at.
_MOST_COMPARED: Final = 40
_LONGEST_COMPARED: Final = 4_000
#: Keys of a step under which ids of its level stand.
_WIRING: Final = frozenset({"needs", "next", "start", "rewind_to"})
_REFERENCE: Final = re.compile(
    r"""(?<![\w.])steps\s*(?:\.\s*(?P<plain>[a-z][a-z0-9_]*)|\[\s*(?P<quote>['"])(?P<quoted>[a-z][a-z0-9_-]*)(?P=quote)\s*\])"""
)


def renamed(before: Mapping[str, Tree], after: Mapping[str, Tree]) -> dict[str, str]:
    """Find the steps of a level that stand under another id.

    Args:
        before: id -> canonical tree, earlier.
        after: the same, later.

    Returns:
        Old id -> new id.

    Example:
        >>> renamed({"a": {"call": "f"}, "b": {"run": "x"}}, {"c": {"call": "f"}, "b": {"run": "x"}})
        {'a': 'c'}
    """
    gone = [step_id for step_id in before if step_id not in after]
    new = [step_id for step_id in after if step_id not in before]
    moved = frozenset(gone) | frozenset(new)
    texts = {("old", step_id): _content(before[step_id], moved) for step_id in gone}
    texts |= {("new", step_id): _content(after[step_id], moved) for step_id in new}
    found: dict[str, str] = {}
    by_text: dict[str, list[str]] = {}
    for step_id in reversed(new):
        by_text.setdefault(texts["new", step_id], []).append(step_id)
    for step_id in gone:
        if same := by_text.get(texts["old", step_id]):
            found[step_id] = same.pop()
    taken = set(found.values())
    left = [step_id for step_id in new if step_id not in taken][:_MOST_COMPARED]
    for step_id in [step_id for step_id in gone if step_id not in found][:_MOST_COMPARED]:
        likely = max(left, key=lambda other: _likeness(texts["old", step_id], texts["new", other]), default=None)
        if likely is not None and _likeness(texts["old", step_id], texts["new", likely]) >= _ALIKE:
            found[step_id] = likely
            left.remove(likely)
    return found


def _content(tree: Tree, moved: Collection[str]) -> str:
    """What a step does, without its wiring and without the names of steps that may have changed."""
    kept = {key: value for key, value in tree.items() if key not in _WIRING}
    return json.dumps(_rewritten(kept, dict.fromkeys(moved, "?")), sort_keys=True, default=repr)


def _likeness(one: str, other: str) -> float:
    matcher = difflib.SequenceMatcher(None, one[:_LONGEST_COMPARED], other[:_LONGEST_COMPARED], autojunk=False)
    if matcher.real_quick_ratio() < _ALIKE or matcher.quick_ratio() < _ALIKE:
        return 0.0
    return matcher.ratio()


def with_names(tree: Tree, names: Mapping[str, str]) -> dict[str, Any]:
    """A step as it would read if the steps it names were called otherwise.

    Args:
        tree: its canonical tree.
        names: old id -> new id.

    Example:
        >>> with_names({"needs": ["a"], "when": "steps.a.output > 1"}, {"a": "c"})
        {'needs': ['c'], 'when': 'steps.c.output > 1'}
    """
    return dict(_rewritten(tree, names)) if names else dict(tree)


def _rewritten(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: _reference(match, names), value)
    if isinstance(value, Mapping):
        return {
            key: _rewired(item, names) if key in _WIRING else _rewritten(item, names) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_rewritten(item, names) for item in value]
    return value


def _reference(match: re.Match[str], names: Mapping[str, str]) -> str:
    old = match["plain"] or match["quoted"]
    if old not in names:
        return match[0]
    return f"steps.{names[old]}" if "-" not in names[old] else f'steps["{names[old]}"]'


def _rewired(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, Mapping):
        return {key: names.get(target, target) for key, target in value.items()}
    return list(_routes(value, names))


def _routes(items: Any, names: Mapping[str, str]) -> Iterator[Any]:
    # `needs` is sorted in a canonical tree, and so it has to be again.
    if all(isinstance(item, str) for item in items):
        yield from sorted(names.get(item, item) for item in items)
        return
    for route in items:
        rewritten = _rewritten(route, names)
        yield {key: names.get(rewritten[key], rewritten[key]) if key != "when" else rewritten[key] for key in rewritten}
