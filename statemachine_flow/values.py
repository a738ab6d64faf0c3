"""Values of users as bytes: MessagePack that gives back exactly what went in, or refuses.

MessagePack alone would turn a tuple into a list and a Decimal into text without a word. Here every type that it
does not keep is written as a tagged extension, and any type outside the closed list is refused before something
is stored. Reading runs no code of the data's choosing: a tag selects one of the constructors below, nothing else.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Final

import msgspec
from msgspec.msgpack import Ext

from statemachine_flow.errors import StepError, StoreError

#: Values nested deeper are refused: a reader must not need a deep stack.
MAX_DEPTH: Final = 200

_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**64 - 1
#: Python refuses to write longer numbers in decimal digits.
_PRINTABLE_BITS: Final = 14_000
_SCALARS: Final = frozenset({str, float, bool, type(None), bytes})
_HASHABLE_KEYS: Final = frozenset({str, int, float, bool, type(None), bytes})

#: A date with a time, or a time, as ISO text; with the zone's name and the fold where the text does not hold them.
_Moment = str | tuple[str, str | None, int]


def _write_moment(value: dt.datetime | dt.time) -> _Moment:
    zone, name = value.tzinfo, None
    if zone is not None:
        if type(zone) is not dt.timezone:
            # Its rules lie in files that differ from one machine to the next.
            raise ValueError(f"has a time zone of the type {type(zone).__qualname__}, which cannot be kept")
        if repr(zone) != repr(dt.timezone(zone.utcoffset(None))):
            name = zone.tzname(None)
    return value.isoformat() if name is None and value.fold == 0 else (value.isoformat(), name, value.fold)


def _read_moment(kind: type[dt.datetime | dt.time], data: _Moment) -> dt.datetime | dt.time:
    if isinstance(data, str):
        return kind.fromisoformat(data)
    text, name, fold = data
    value = kind.fromisoformat(text)
    zone = value.tzinfo if name is None else dt.timezone(value.utcoffset() or dt.timedelta(), name)
    return value.replace(tzinfo=zone, fold=fold)


#: type -> (tag, to data that MessagePack keeps). Tags are part of the stored form: never reuse one.
_WRITERS: Final[Mapping[type, tuple[int, Callable[[Any], Any]]]] = {
    tuple: (1, list),
    set: (2, list),
    frozenset: (3, list),
    int: (4, lambda value: format(value, "x")),  # hexadecimal: no limit on digits, linear time
    decimal.Decimal: (5, str),
    dt.datetime: (6, _write_moment),
    dt.date: (7, dt.date.isoformat),
    dt.time: (8, _write_moment),
    dt.timedelta: (9, lambda value: (value.days, value.seconds, value.microseconds)),
    uuid.UUID: (10, lambda value: value.bytes),
}
#: tag -> (type of the data, to the value)
_READERS: Final[Mapping[int, tuple[Any, Callable[[Any], Any]]]] = {
    1: (list, tuple),
    2: (list, set),
    3: (list, frozenset),
    4: (str, lambda text: int(text, 16)),
    5: (str, decimal.Decimal),
    6: (_Moment, partial(_read_moment, dt.datetime)),
    7: (str, dt.date.fromisoformat),
    8: (_Moment, partial(_read_moment, dt.time)),
    9: (tuple[int, int, int], lambda parts: dt.timedelta(*parts)),
    10: (bytes, lambda raw: uuid.UUID(bytes=raw)),
}

_encoder: Final = msgspec.msgpack.Encoder()
_HOLDING: Final = frozenset({list, tuple, set, frozenset, dict})


def encode_value(value: Any) -> bytes:
    """Encode a value exactly.

    Args:
        value: None, bool, int of any size, float, str, bytes, list, dict with scalar keys, tuple, set, frozenset,
            Decimal, datetime, date, time, timedelta, UUID, nested at most `MAX_DEPTH` deep. Subclasses of these
            are refused, for they would come back as the base type, and so are time zones other than fixed offsets.

    Raises:
        StepError: `step.unserializable`, naming the path and the type.

    Example:
        >>> decode_value(encode_value({"a": (1, {2}), "b": 2**70})) == {"a": (1, {2}), "b": 2**70}
        True
        >>> encode_value({"a": [1, object()]})
        Traceback (most recent call last):
        ...
        statemachine_flow.errors.StepError: the value at $.a[1] has the type object, which cannot be kept; \
return text, numbers, lists and mappings
    """
    try:
        return _encoder.encode(value if _is_plain(value, MAX_DEPTH) else _tagged(value, "$", MAX_DEPTH))
    except UnicodeEncodeError:
        raise _refused(
            f"the value at {_path_of_bad_text(value, '$') or '$'} is text that is not valid Unicode"
        ) from None


def decode_value(data: bytes | msgspec.Raw) -> Any:
    """Decode what `encode_value` gave.

    Raises:
        StoreError: `store.corrupt`, the bytes are not a value.
    """
    try:
        value = _decoder.decode(data)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError, ArithmeticError) as error:
        raise StoreError(f"a stored value cannot be read: {error}", kind="store.corrupt") from error
    if len(memoryview(data)) > MAX_DEPTH and _is_deep(value):
        raise StoreError(
            f"a stored value cannot be read: it is nested deeper than {MAX_DEPTH}, as none is kept",
            kind="store.corrupt",
        )
    return value


def jsonable(value: Any) -> Any:
    """`value` as JSON can show it: sets sorted into lists, dates and decimals as text, bytes as escaped text.

    For people and pipes; it does not read back exactly. Non-finite numbers become text.

    Example:
        >>> jsonable({"when": dt.date(2026, 1, 2), 1: (b"x", 2.5)})
        {'when': '2026-01-02', '1': ['x', 2.5]}
    """
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(jsonable(key)): jsonable(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((jsonable(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return _scalar_for_json(value)


def _scalar_for_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and value.bit_length() > _PRINTABLE_BITS:
        return hex(value)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _is_plain(value: Any, depth: int) -> bool:  # noqa: PLR0911 - one answer per type
    """Whether MessagePack keeps `value` as it is; the quick way through for nearly every result."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is int:
        return bool(_MIN_INT <= value <= _MAX_INT)
    if depth == 0:
        return False
    if kind is dict:
        for key, item in value.items():  # noqa: SIM110 - as below
            if type(key) is not str or not _is_plain(item, depth - 1):
                return False
        return True
    if kind is list:
        for item in value:  # noqa: SIM110 - a generator doubles the time of the commonest way through
            if not _is_plain(item, depth - 1):
                return False
        return True
    return False


def _tagged(value: Any, path: str, depth: int) -> Any:
    kind = type(value)
    if kind in _SCALARS or (kind is int and _MIN_INT <= value <= _MAX_INT):
        return value
    if depth == 0:
        raise _refused(f"the value at {path[:80]} is nested deeper than {MAX_DEPTH}, or holds itself")
    if kind is dict:
        return {_key(key, path): _tagged(item, _child(path, key), depth - 1) for key, item in value.items()}
    if kind is list:
        return [_tagged(item, f"{path}[{index}]", depth - 1) for index, item in enumerate(value)]
    if kind not in _WRITERS:
        hint = "return text, numbers, lists and mappings"
        raise _refused(f"the value at {path} has the type {kind.__qualname__}, which cannot be kept", hint)
    tag, write = _WRITERS[kind]
    try:
        inner = write(value)
    except ValueError as error:
        raise _refused(f"the value at {path} {error}", "convert it with astimezone(timezone.utc)") from None
    if kind in (tuple, set, frozenset):
        inner = [_tagged(item, f"{path}[{index}]", depth - 1) for index, item in enumerate(inner)]
    return Ext(tag, _encoder.encode(inner))


def _key(key: Any, path: str) -> Any:
    if type(key) in _HASHABLE_KEYS and not (type(key) is int and not _MIN_INT <= key <= _MAX_INT):
        return key
    raise _refused(f"a key of the mapping at {path}, of the type {type(key).__qualname__}, cannot be kept", "use text")


def _child(path: str, key: Any) -> str:
    return f"{path}.{key}" if isinstance(key, str) and key.isidentifier() else f"{path}[{key!r}]"


def _path_of_bad_text(value: Any, path: str) -> str:
    """Where the first text that UTF-8 cannot hold stands; called only once it is known that there is one."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if found := _path_of_bad_text(key, path) or _path_of_bad_text(item, _child(path, key)):
                return found
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            if found := _path_of_bad_text(item, f"{path}[{index}]"):
                return found
    elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        return path
    return ""


def _refused(message: str, hint: str | None = None) -> StepError:
    return StepError(message, kind="step.unserializable", name="Unserializable", hint=hint)


def _is_deep(value: Any) -> bool:
    """Whether a value is nested deeper than any that is written."""
    level, depth = _holders([value]), 0
    while level and depth <= MAX_DEPTH:
        level = [item for holder in level for item in _inside(holder)]
        depth += 1
    return depth > MAX_DEPTH


def _inside(holder: Any) -> list[Any]:
    items = _holders(holder)
    return items + _holders(holder.values()) if type(holder) is dict else items


def _holders(items: Collection[Any]) -> list[Any]:
    """Those of the items that hold others; nearly always there is none."""
    return [] if _HOLDING.isdisjoint(map(type, items)) else [item for item in items if type(item) in _HOLDING]


def _read_ext(tag: int, data: memoryview) -> Any:
    if tag not in _TAGS:
        raise ValueError(f"unknown tag {tag}")
    decoder, construct = _TAGS[tag]
    return construct(decoder.decode(data))


_decoder: Final = msgspec.msgpack.Decoder(ext_hook=_read_ext)
_TAGS: Final = {
    tag: (msgspec.msgpack.Decoder(shape, ext_hook=_read_ext), construct) for tag, (shape, construct) in _READERS.items()
}
