"""What becomes of an attempt whose output the store cannot take: nothing, for the store failed, not the attempt."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import final

from statemachine_flow.errors import StoreError
from statemachine_flow.stores.base import Spill


@final
class UnkeptError(Exception):
    """The store could not take a part of what an attempt gave.

    Args:
        error: why.
    """

    def __init__(self, error: StoreError) -> None:
        super().__init__(str(error))
        self.error = error


def open_spill(open_blob: Callable[[], Spill]) -> Spill:
    """Begin a blob for an attempt.

    Args:
        open_blob: begins a blob of the store.

    Raises:
        UnkeptError: the store cannot take one; from here and from what is begun.
    """
    with _errors():
        return _Guarded(open_blob())


@final
class _Guarded:
    def __init__(self, spill: Spill) -> None:
        self._spill = spill

    def write(self, data: bytes) -> None:
        with _errors():
            self._spill.write(data)

    def finish(self) -> str:
        with _errors():
            return self._spill.finish()

    def discard(self) -> None:
        self._spill.discard()


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise UnkeptError(error) from error
