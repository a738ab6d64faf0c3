"""Mappings and lists of a document as Python's own: what is set in them is set in the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence
from typing import Any, Protocol, final

from statemachine_flow.compiler.source import Path
from statemachine_flow.errors import UsageError


class _Text(Protocol):
    """What a view needs of its document."""

    def read(self, path: Path) -> Any: ...

    def write(self, path: Path, value: Any, after: str | int | None = None) -> None: ...

    def erase(self, path: Path) -> None: ...


class View(MutableMapping[str, Any]):
    """A mapping of a document."""

    def __init__(self, text: _Text, path: Path) -> None:
        self._text = text
        self._path = path

    def __getitem__(self, key: str) -> Any:
        return view_of(self._text, (*self._path, key), self._held[key])

    def __setitem__(self, key: str, value: Any) -> None:
        self._text.write((*self._path, key), value)

    def __delitem__(self, key: str) -> None:
        if key not in self._held:
            raise KeyError(key)
        self._text.erase((*self._path, key))

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._held))

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} entries>"

    @property
    def _held(self) -> dict[str, Any]:
        data = self._text.read(self._path)
        if not isinstance(data, dict):
            raise UsageError("the mapping is no longer part of the document")
        return data


@final
class ListView(MutableSequence[Any]):
    """A list of a document."""

    def __init__(self, text: _Text, path: Path) -> None:
        self._text = text
        self._path = path

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = self._place(index)
        return view_of(self._text, (*self._path, place), self._held[place])

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            items = plain(self)
            items[index] = plain(list(value))
            self._text.write(self._path, items)
        else:
            self._text.write((*self._path, self._place(index)), value)

    def __delitem__(self, index: Any) -> None:
        places = range(len(self))[index] if isinstance(index, slice) else [self._place(index)]
        for place in sorted(places, reverse=True):
            self._text.erase((*self._path, place))

    def __len__(self) -> int:
        return len(self._held)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list | tuple | ListView) and plain(self) == plain(list(other))

    __hash__ = None  # type: ignore[assignment]  # it can be changed

    def __repr__(self) -> str:
        return f"<ListView of {len(self)} items>"

    def insert(self, index: int, value: Any) -> None:
        """Put a value before the item at `index`."""
        place = min(max(index + len(self) if index < 0 else index, 0), len(self))
        if place:
            self._text.write((*self._path, place), value, place - 1)
        else:
            self._text.write(self._path, [plain(value), *plain(self)])

    def _place(self, index: int) -> int:
        return range(len(self))[index]

    @property
    def _held(self) -> list[Any]:
        data = self._text.read(self._path)
        if not isinstance(data, list):
            raise UsageError("the list is no longer part of the document")
        return data


def view_of(text: _Text, path: Path, value: Any) -> Any:
    """A value of a document: a scalar as it is, anything else as a view."""
    if isinstance(value, dict):
        return View(text, path)
    return ListView(text, path) if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """A value with views and tuples in it as plain data."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | ListView):
        return [plain(item) for item in value]
    return value
