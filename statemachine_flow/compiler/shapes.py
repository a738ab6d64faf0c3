"""Turns plain data into one noun of the model, strictly: nothing is converted, ignored or forgiven.

The types of the model's fields say what is allowed; cattrs makes a function of them for each class. Such a
function is generated twice: a fast one that stops at the first wrong value, and one that finds every wrong
value, which only runs when the fast one has stopped.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Mapping, Sized
from functools import cached_property, partial
from itertools import islice
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Generic, Literal, TypeVar, Union, get_args, get_origin

import attrs
import cattrs
import msgspec
from cattrs.dispatch import StructureHook
from cattrs.errors import ClassValidationError
from cattrs.gen import make_dict_structure_fn, override

from statemachine_flow.compiler import strict
from statemachine_flow.compiler.plain import MOST_PROBLEMS
from statemachine_flow.compiler.problems import shown
from statemachine_flow.compiler.refused import TYPE_NAMES, Refused, collect, findings_of, under, wrong_type
from statemachine_flow.compiler.source import quoted
from statemachine_flow.compiler.suggest import field_hint
from statemachine_flow.model import Finding, Percentage, Seconds, document_key

T = TypeVar("T")

_AS_IT_IS: Final[Mapping[str, Any]] = {"struct_hook": lambda value, _: value}


class Shape(Generic[T]):
    """Makes objects of one class from mappings.

    Args:
        cls: an attrs class of the model.
        given: fields that hold no plain data: the caller makes their values, and they are taken as they are.
        but: fields that are left at their defaults, for mappings that do not hold them.
    """

    def __init__(self, cls: type[T], *, given: Collection[str] = (), but: Collection[str] = ()) -> None:
        self.cls = cls
        names = [field.name for field in attrs.fields(cls)]  # type: ignore[arg-type]  # every noun is an attrs class
        names = [name for name in names if name not in but]
        self._overrides: dict[str, Any] = {
            name: override(rename=document_key(name), **(_AS_IT_IS if name in given else {})) for name in names
        }
        #: The document keys it knows.
        self.keys = tuple(document_key(name) for name in names if name not in given)
        self._overrides |= {name: override(omit=True) for name in but}

    @cached_property
    def _fast(self) -> Callable[[Mapping[str, Any]], T]:
        # Made when a document first needs it: no document has every verb.
        return self._generate(detailed=False)

    @cached_property
    def _thorough(self) -> Callable[[Mapping[str, Any]], T]:
        return self._generate(detailed=True)

    def _generate(self, *, detailed: bool) -> Callable[[Mapping[str, Any]], T]:
        return make_dict_structure_fn(
            self.cls,
            _converter,
            _cattrs_detailed_validation=detailed,
            _cattrs_forbid_extra_keys=False,  # `unknown_fields` says more
            **self._overrides,
        )

    def __call__(self, value: Mapping[str, Any]) -> T:
        """Make the object; keys that it does not know are the caller's concern, see `unknown_fields`.

        Raises:
            Refused: with everything that is wrong.
        """
        try:
            return self._fast(value)
        except (Refused, KeyError):  # KeyError: a required field is missing
            findings = self._explain(value)
        raise Refused(*findings)

    def _explain(self, value: Mapping[str, Any]) -> list[Finding]:
        findings: list[Finding] = []
        try:
            self._thorough(value)
        except ClassValidationError as group:
            for error, note in group.group_exceptions()[0]:
                key = document_key(note.name)
                if isinstance(error, Refused):
                    findings += under(key, error.findings)
                else:
                    findings.append(Finding("definition.missing_field", f"the field '{key}' is missing", (key,)))
        return findings


def unknown_fields(value: Mapping[str, Any], known: Collection[str]) -> list[Finding]:
    """A finding for each key that is not known, up to as many as a report names."""
    unknown = islice((key for key in value if key not in known), MOST_PROBLEMS)
    return [
        Finding("definition.unknown_field", f"unknown field {shown(key)}", (key,), field_hint(key, known), True)
        for key in unknown
    ]


def _class_hook(cls: Any) -> StructureHook:
    shape: Shape[Any] = Shape(cls)
    known = frozenset(shape.keys)

    def structure(value: Any, _: object) -> Any:
        if type(value) is not dict:
            raise wrong_type("a mapping", value)
        if value.keys() <= known:
            return shape(value)
        raise Refused(*unknown_fields(value, shape.keys), *findings_of(lambda: shape(value)))

    return structure


def _tuple_hook(cls: Any) -> StructureHook:
    item_type = get_args(cls)[0]
    item = _converter.get_structure_hook(item_type)

    def structure(value: Any, _: object) -> Any:
        if type(value) is not list:
            raise wrong_type("a list", value, f"write [{quoted(value)}]" if type(value) is str else None)
        try:
            return tuple([item(part, item_type) for part in value])
        except Refused:
            parts = [(index, partial(item, part, item_type)) for index, part in enumerate(value)]
        raise Refused(*collect(parts))

    return structure


def _mapping_hook(cls: Any) -> StructureHook:
    key_type, item_type = get_args(cls)
    key_hook, item = _converter.get_structure_hook(key_type), _converter.get_structure_hook(item_type)

    def structure(value: Any, _: object) -> Any:
        if type(value) is not dict:
            raise wrong_type("a mapping", value)
        try:
            return {key_hook(key, key_type): item(part, item_type) for key, part in value.items()}
        except Refused:
            keys = collect([(key, partial(key_hook, key, key_type)) for key in value])
            parts = [(key, partial(item, part, item_type)) for key, part in value.items()]
        raise Refused(*(attrs.evolve(finding, about_key=True) for finding in keys), *collect(parts))

    return structure


_ORIGINS: Final[Mapping[Any, type]] = {tuple: list, Mapping: dict, Literal: str}


def _union_hook(cls: Any) -> StructureHook:
    # None stands for an absent field, never for a value: `timeout: null` is refused.
    members = [member for member in get_args(cls) if member is not NoneType]
    if len(members) == 1:
        (member,) = members
        only = _converter.get_structure_hook(member)
        return lambda value, _: only(value, member)
    hooks = {_data_type(member): (_converter.get_structure_hook(member), member) for member in members}
    expected = " or ".join(TYPE_NAMES[data_type] for data_type in hooks)

    def structure(value: Any, _: object) -> Any:
        if type(value) not in hooks:
            raise wrong_type(expected, value)
        hook, member = hooks[type(value)]
        return hook(value, member)

    return structure


def _data_type(cls: Any) -> type:
    """The type of plain data that a type of the model is made from."""
    base = get_args(cls)[0] if get_origin(cls) is Annotated else cls
    if attrs.has(base):
        return dict
    return _ORIGINS.get(get_origin(base), base)


def _annotated_hook(cls: Any) -> StructureHook:
    base, *extras = get_args(cls)
    hook = _converter.get_structure_hook(base)
    (meta,) = (extra for extra in extras if isinstance(extra, msgspec.Meta))
    fault = _name_fault(meta) if meta.pattern else _range_fault(meta) if meta.ge is not None else _length_fault(meta)

    def structure(value: Any, _: object) -> Any:
        result = hook(value, base)
        finding = fault(result)
        if finding is not None:
            raise Refused(finding)
        return result

    return structure


def _name_fault(meta: msgspec.Meta) -> Callable[[str], Finding | None]:
    fits = re.compile(meta.pattern or "").fullmatch

    def fault(value: str) -> Finding | None:
        if fits(value):
            return None
        return Finding("definition.name", f"{shown(value)} is not a valid name", (), meta.description)

    return fault


def _range_fault(meta: msgspec.Meta) -> Callable[[float], Finding | None]:
    low, high = meta.ge or 0, meta.le or 0

    def fault(value: float) -> Finding | None:
        return None if low <= value <= high else Finding("definition.range", f"{value} is not between {low} and {high}")

    return fault


def _length_fault(meta: msgspec.Meta) -> Callable[[Sized], Finding | None]:
    low, high = meta.min_length or 0, meta.max_length or sys.maxsize

    def fault(value: Sized) -> Finding | None:
        if low <= len(value) <= high:
            return None
        message = f"this is longer than {high}" if len(value) > high else "this must not be empty"
        return Finding("definition.range", message)

    return fault


def _has_origin(*origins: object) -> Callable[[Any], bool]:
    return lambda cls: get_origin(cls) in origins


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_structure_hook_factory(attrs.has, _class_hook)
    converter.register_structure_hook_factory(_has_origin(tuple), _tuple_hook)
    converter.register_structure_hook_factory(_has_origin(Mapping), _mapping_hook)
    converter.register_structure_hook_factory(_has_origin(Union, UnionType), _union_hook)
    converter.register_structure_hook_factory(_has_origin(Annotated), _annotated_hook)
    converter.register_structure_hook_func(_has_origin(Literal), strict.word)
    converter.register_structure_hook_func(lambda cls: cls == Seconds, strict.seconds)
    converter.register_structure_hook_func(lambda cls: cls == Percentage, strict.share)
    converter.register_structure_hook_func(lambda cls: cls is Any, lambda value, _: value)
    converter.register_structure_hook(str, strict.text)
    converter.register_structure_hook(bool, strict.boolean)
    converter.register_structure_hook(int, strict.whole_number)
    converter.register_structure_hook(float, strict.number)
    return converter


_converter: Final = _make_converter()


def hook_for(cls: Any) -> Callable[[Any], Any]:
    """The strict reading of one value as `cls`, a type of the model; it raises `Refused`."""
    hook = _converter.get_structure_hook(cls)
    return lambda value: hook(value, cls)
