"""Users' values as bytes: exactly what went in comes out, or nothing is kept."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import fractions
import io
import json
import subprocess
import sys
import types
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from statemachine_flow.errors import StepError, StoreError
from statemachine_flow.values import MAX_DEPTH, decode_value, encode_value, jsonable

D = decimal.Decimal
UTC = dt.UTC
EAST = dt.timezone(dt.timedelta(hours=5, minutes=30))


def exact(value: Any) -> str:
    """A text that two values share only if they are alike in type and content, all the way down.

    So 1 is not True, 0.0 is not -0.0, a list is not a tuple, and NaN is NaN.
    """
    kind = type(value).__name__
    if type(value) is dict:
        return f"{kind}({', '.join(f'{exact(key)}: {exact(item)}' for key, item in value.items())})"
    if isinstance(value, list | tuple):
        return f"{kind}({', '.join(map(exact, value))})"
    if isinstance(value, set | frozenset):
        return f"{kind}({', '.join(sorted(map(exact, value)))})"
    if isinstance(value, int):
        return f"{kind} {value:x}"  # Python does not print numbers of thousands of digits
    if isinstance(value, dt.datetime | dt.time):
        return f"{value!r} {value.fold} {value.tzname()}"
    return f"{kind} {value!r}"


def assert_same(left: Any, right: Any) -> None:
    assert exact(left) == exact(right)


def nested(depth: int, wrap: Callable[[Any], Any] = lambda value: [value]) -> Any:
    value: Any = "core"
    for _ in range(depth):
        value = wrap(value)
    return value


def label(value: Any) -> str:
    """A short name, the same in every process: sets print in any order."""
    return ascii(exact(value))[1:60]


GOLDEN: list[Any] = [
    None,
    True,
    False,
    *(0, -1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 2**70, -(2**70), 10**6000, -(16**5000)),
    *(0.0, -0.0, 1.5, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan"), 2.0**53 + 1),
    *("", "text", "é ☃ 😀", "nul\0inside", "\x1b[31m", "\u202e", "e\u0301", "x" * 100_000),
    *(b"", b"bytes", bytes(range(256)), b"\xff" * 70_000),
    [],
    [1, "a", None],
    (),
    (1,),
    (1, [2, (3,)]),
    {},
    {"a": 1, "b": [True, None]},
    {"z": 1, "a": 2},
    {1: "int", "1": "text", 1.5: "float", None: "none", b"1": "bytes", False: "bool"},
    {True: "true"},
    {2**63: "large", -(2**63): "small"},
    {float("nan"): 1, float("inf"): 2},
    {"lc": 1, "type": "constructor", "id": ["os", "system"]},
    {"__type__": "os.system", "__reduce__": ["ls"], "py/object": "os.system"},
    set(),
    {1, "a", None, (1, 2), frozenset({3})},
    frozenset(),
    frozenset({b"x", 2**70, D("1.10")}),
    *(D("0"), D("-0"), D("1.10"), D("1E+5"), D("1E-999"), D("NaN"), D("sNaN"), D("-Infinity"), D("9" * 200)),
    dt.datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - a naive time must come back naive
    dt.datetime(2026, 1, 2, tzinfo=UTC),
    dt.datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=EAST),
    dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=-3), "BRT")),
    dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(0), "UTC")),
    dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(0), "")),
    dt.datetime(2026, 1, 2, tzinfo=dt.timezone(-dt.timedelta(hours=1, minutes=2, seconds=3, microseconds=4))),
    dt.datetime(2026, 10, 25, 2, 30, fold=1),  # noqa: DTZ001 - as above
    dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=EAST),
    dt.datetime.min,  # noqa: DTZ901 - as above
    dt.datetime.max,  # noqa: DTZ901 - as above
    dt.date(2026, 2, 28),
    dt.date.min,
    dt.date.max,
    dt.time(3, 4),
    dt.time(3, 4, 5, 6, tzinfo=UTC),
    dt.time(1, 2, fold=1, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")),
    dt.timedelta(0),
    dt.timedelta(days=-1, microseconds=1),
    dt.timedelta.min,
    dt.timedelta.max,
    uuid.UUID(int=0),
    uuid.UUID("018f3a1e-0000-7000-8000-00000000abcd"),
    {"deep": [{"a": ({"b": {(1, frozenset({D("1")}))}},)}]},
]
DEEPEST: list[Any] = [
    nested(MAX_DEPTH),
    nested(MAX_DEPTH, lambda value: {"k": value}),
    nested(MAX_DEPTH, lambda value: (value,)),
]


@pytest.mark.parametrize("value", GOLDEN + DEEPEST, ids=label)
def test_case_64_a_value_comes_back_exactly(value: Any) -> None:
    assert_same(decode_value(encode_value(value)), value)


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}, lambda v: {"k": [0, (v,)]}])
@pytest.mark.parametrize("value", GOLDEN[::3], ids=label)
def test_case_64_a_value_comes_back_exactly_from_within_others(value: Any, wrap: Callable[[Any], Any]) -> None:
    assert_same(decode_value(encode_value(wrap(value))), wrap(value))


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Colour(enum.IntEnum):
    RED = 1


class Word(enum.StrEnum):
    A = "a"


class Pair(NamedTuple):
    a: int
    b: int


class Moment(dt.datetime):
    pass


class Odd(dt.tzinfo):
    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(hours=1)

    def dst(self, moment: dt.datetime | None) -> None:
        return None

    def tzname(self, moment: dt.datetime | None) -> str:
        return "odd"


class Scalar:
    """As the scalars of array libraries: no number, but taken for one by much."""

    def __index__(self) -> int:
        return 1

    def __float__(self) -> float:
        return 1.0


def _berlin() -> dt.tzinfo:
    try:
        return zoneinfo.ZoneInfo("Europe/Berlin")
    except zoneinfo.ZoneInfoNotFoundError:
        return Odd()


REFUSED: list[tuple[Any, str]] = [
    (object(), "object"),
    (lambda: None, "function"),
    ((number for number in [1]), "generator"),
    (ValueError("x"), "ValueError"),
    (io.StringIO(), "StringIO"),
    (sys, "module"),
    (int, "type"),
    (Text("x"), "Text"),
    (Number(1), "Number"),
    (Colour.RED, "Colour"),
    (Word.A, "Word"),
    (Pair(1, 2), "Pair"),
    (Moment(2026, 1, 1, tzinfo=UTC), "Moment"),
    (Scalar(), "Scalar"),
    (1 + 2j, "complex"),
    (fractions.Fraction(1, 3), "Fraction"),
    (range(3), "range"),
    (bytearray(b"x"), "bytearray"),
    (memoryview(b"x"), "memoryview"),
    (collections.OrderedDict(a=1), "OrderedDict"),
    (collections.defaultdict(int), "defaultdict"),
    (collections.deque([1]), "deque"),
    (types.MappingProxyType({}), "mappingproxy"),
    (types.SimpleNamespace(a=1), "SimpleNamespace"),
    (msgspec.Raw(b"\x01"), "Raw"),
    (msgspec.msgpack.Ext(1, b"\x90"), "Ext"),
    (..., "ellipsis"),
    (dt.datetime(2026, 1, 1, tzinfo=_berlin()), type(_berlin()).__name__),
    (dt.time(1, tzinfo=Odd()), "Odd"),
]


def refusal(value: Any) -> StepError:
    with pytest.raises(StepError) as caught:
        encode_value(value)
    assert (caught.value.kind, caught.value.name) == ("step.unserializable", "Unserializable")
    return caught.value


@pytest.mark.parametrize(("value", "name"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda v: v, "$"),
        (lambda v: {"a": [0, 1, 2, v]}, "$.a[3]"),
        (lambda v: {"a b": {7: (v,)}}, "$['a b'][7][0]"),
    ],
)
def test_case_63_what_cannot_be_kept_is_refused_with_its_path_and_type(
    value: Any, name: str, wrap: Callable[[Any], Any], path: str
) -> None:
    message = refusal(wrap(value)).message

    assert f"the value at {path} has" in message
    assert f"type {name}," in message


@pytest.mark.parametrize(
    "key", [(1, 2), 2**64, -(2**63) - 1, D("1"), Text("x"), Colour.RED, frozenset(), UTC, Scalar()]
)
@pytest.mark.parametrize(("wrap", "path"), [(lambda v: v, "$"), (lambda v: [{"a": v}], "$[0].a")])
def test_case_63_a_key_that_cannot_be_kept_is_refused(key: Any, wrap: Callable[[Any], Any], path: str) -> None:
    error = refusal(wrap({"good": 1, key: 2}))

    assert f"a key of the mapping at {path}, of the type {type(key).__name__}," in error.message


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("\ud800", "$"),
        (["ok", "a\udfffb"], "$[1]"),
        ({"\ud800": 1}, "$"),
        ({"a": {"\ud800": 1}}, "$.a"),
        ({"a": [{"b": (1, {"c": "\udc00"})}]}, "$.a[0].b[1].c"),
        ({"a": {"\udc00"}}, "$.a[0]"),
        (dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(0), "\ud800")), "$"),
    ],
)
def test_case_64_text_that_is_no_unicode_is_refused_with_its_path(value: Any, path: str) -> None:
    assert f"the value at {path} is text that is not valid Unicode" in refusal(value).message


def _cycle(kind: type) -> Any:
    value: Any = kind()
    if kind is dict:
        value["me"] = (value,)
    else:
        value.extend([value, value])
    return value


@pytest.mark.parametrize(
    "value",
    [
        nested(MAX_DEPTH + 1),
        nested(MAX_DEPTH + 1, lambda value: {"k": value}),
        nested(MAX_DEPTH + 1, lambda value: (value,)),
        nested(5000),
        nested(5000, lambda value: (value,)),
        _cycle(list),
        _cycle(dict),
    ],
    ids=["list", "dict", "tuple", "deep list", "deep tuple", "cyclic list", "cyclic dict"],
)
def test_case_64_what_is_too_deep_or_holds_itself_is_refused(value: Any) -> None:
    error = refusal(value)

    assert f"nested deeper than {MAX_DEPTH}, or holds itself" in error.message
    assert len(error.message) < 300


def test_what_is_encoded_later_does_not_see_changes() -> None:
    value = {"a": [1]}
    data = encode_value(value)
    value["a"].append(2)

    assert decode_value(data) == {"a": [1]}


def test_a_raw_value_reads_like_its_bytes() -> None:
    assert decode_value(msgspec.Raw(encode_value((1, 2)))) == (1, 2)


# --- round trip of whatever there is

ZONES = st.none() | st.builds(
    lambda minutes, name: dt.timezone(dt.timedelta(minutes=minutes), *name),
    st.integers(-1439, 1439),
    st.just(()) | st.tuples(st.text(max_size=4)),
)
KEYS = st.text(max_size=5) | st.integers(-(2**63), 2**64 - 1) | st.none() | st.floats() | st.binary(max_size=3)
HASHABLE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=10),
        st.binary(max_size=10),
        st.decimals().filter(lambda number: not number.is_snan()),
        st.dates(),
        st.datetimes(timezones=ZONES),
        st.times(timezones=ZONES),
        st.timedeltas(),
        st.uuids(),
        st.sampled_from([2**64, -(2**63) - 1, 2**200]),
    ),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
VALUES = st.recursive(
    HASHABLE | st.sets(HASHABLE, max_size=3) | st.decimals(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(VALUES)
@settings(max_examples=400, deadline=None)
def test_any_value_comes_back_exactly(value: Any) -> None:
    assert_same(decode_value(encode_value(value)), value)


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_any_value_can_be_shown_as_json(value: Any) -> None:
    json.loads(json.dumps(jsonable(value), allow_nan=False))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (b"a\xff", "a\\xff"),
        ({3, 1, 2}, [1, 2, 3]),
        ((1, [D("1.0")]), [1, ["1.0"]]),
        ({1: 2, None: 3, "a": {b"x": 4}}, {"1": 2, "None": 3, "a": {"x": 4}}),
        (dt.datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
        ([True, None, 2**70], [True, None, 2**70]),
        (16**5000, "0x1" + "0" * 5000),
    ],
    ids=label,
)
def test_json_shows_values_as_people_read_them(value: Any, shown: Any) -> None:
    assert_same(jsonable(value), shown)


# --- bytes that nobody wrote


def ext(tag: int, data: bytes) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.Ext(tag, data))


pack = msgspec.msgpack.encode

BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "reserved": b"\xc1",
    "trailing": encode_value(1) + b"\0",
    "two values": encode_value([1]) * 2,
    "array of 4 G": b"\xdd\xff\xff\xff\xff",
    "map of 4 G": b"\xdf\xff\xff\xff\xff",
    "text of 4 G": b"\xdb\xff\xff\xff\xff",
    "bytes of 4 G": b"\xc6\xff\xff\xff\xff",
    "extension of 4 G": b"\xc9\xff\xff\xff\xff\x01",
    "100 000 deep": b"\x91" * 100_000,
    "100 000 deep maps": b"\x81\xa1a" * 100_000,
    "text that is no UTF-8": b"\xa2\xff\xfe",
    "key that is a map": b"\x81\x80\x01",
    "tag 0": ext(0, pack(1)),
    "tag 11": ext(11, pack([1])),
    "tag 127": ext(127, b"os.system"),
    "tag -5": ext(-5, pack("x")),
    "tuple without data": ext(1, b""),
    "tuple of text": ext(1, pack("abc")),
    "tuple of a number": ext(1, pack(3)),
    "set of lists": ext(2, pack([[1]])),
    "frozenset of maps": ext(3, pack([{}])),
    "number of text": ext(4, pack("xyz")),
    "number of nothing": ext(4, pack("")),
    "number of a number": ext(4, pack(5)),
    "decimal of words": ext(5, pack("one")),
    "decimal of a float": ext(5, pack(0.1)),
    "date and time of words": ext(6, pack("yesterday")),
    "date and time of a number": ext(6, pack(0)),
    "zone of a naive time": ext(6, pack(["2026-01-01T00:00:00", 5, 0])),
    "fold of 7": ext(6, pack(["2026-01-01T00:00:00", None, 7])),
    "date that is none": ext(7, pack("2026-02-30")),
    "time that is none": ext(8, pack("25:00")),
    "too many days": ext(9, pack([10**10, 0, 0])),
    "days of text": ext(9, pack(["1", "2", "3"])),
    "two parts of three": ext(9, pack([1, 2])),
    "short UUID": ext(10, pack(b"short")),
    "UUID of text": ext(10, pack("0123456789abcdef")),
    "UUID of a number": ext(10, pack(10**12)),
    "deeper than any that is written": b"\x91" * (MAX_DEPTH + 1) + b"\xc0",
    "mappings deeper than any that is written": b"\x81\xa1k" * (MAX_DEPTH + 1) + b"\xc0",
    "extensions within extensions": nested(3000, lambda value: ext(1, value if value != "core" else pack(1))),
}


@pytest.mark.parametrize("what", BROKEN)
def test_case_67_bytes_that_are_no_value_are_corruption(what: str) -> None:
    with pytest.raises(StoreError) as caught:
        decode_value(BROKEN[what])
    assert caught.value.kind == "store.corrupt"
    with pytest.raises(StoreError):
        decode_value(b"\x92\x01" + BROKEN[what])


def test_case_67_every_truncation_is_corruption() -> None:
    data = encode_value([GOLDEN[:20], GOLDEN[60:], {"a": (1, {2}), "when": dt.datetime(2026, 1, 1, tzinfo=EAST)}])
    step = max(1, len(data) // 3000)
    for length in range(0, len(data), step):
        with pytest.raises(StoreError):
            decode_value(data[:length])


@given(st.binary(max_size=80) | st.builds(ext, st.integers(-20, 20), st.binary(max_size=20)))
@settings(max_examples=1000, deadline=None)
def test_any_bytes_are_a_value_or_corruption(data: bytes) -> None:
    found = "a value"
    try:
        decode_value(data)
    except StoreError as error:
        found = error.kind
    assert found in ("a value", "store.corrupt")


@given(VALUES, st.integers(0, 2**32), st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_a_flipped_bit_gives_a_value_or_corruption(value: Any, place: int, bit: int) -> None:
    data = bytearray(encode_value(value))
    data[place % len(data)] ^= 1 << bit
    found = "a value"
    try:
        decode_value(bytes(data))
    except StoreError as error:
        found = error.kind
    assert found in ("a value", "store.corrupt")


WATCHED = """
import random, sys, warnings
from statemachine_flow.errors import StoreError
from statemachine_flow.values import decode_value, encode_value
import datetime as dt, decimal, uuid

seeds = [encode_value(value) for value in (
    {"lc": 1, "type": "constructor", "id": ["os", "system"]}, (1, {2}, frozenset({3})), 2**80, decimal.Decimal("1.5"),
    [dt.datetime.now(dt.timezone.utc), dt.date(2026, 1, 1), dt.time(1), dt.timedelta(1), uuid.UUID(int=5)],
    {"__type__": "os.system", "__reduce__": ["posix", "system"], "py/object": "os.system"},
)]
seeds += [bytes([0xC7, 9, tag]) + b"os.system" for tag in range(256)]
for seed in seeds[:6]:
    decode_value(seed)
events = []
on = False
sys.addaudithook(lambda event, arguments: events.append((event, arguments)) if on else None)
rng = random.Random(7)
on = True
for _ in range(20_000):
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randrange(3)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    try:
        decode_value(bytes(data))
    except StoreError:
        pass
on = False
print(events[:5])
"""


def test_case_68_reading_imports_nothing_opens_nothing_and_runs_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, timeout=120, check=False)

    assert (done.stdout, done.stderr) == ("[]\n", "")
