"""Checks the result of a step against its `output_schema`.

Schemas are JSON Schema, draft 2020-12 unless `$schema` names another one. A `$ref` reads what is in the schema or is
one of the published drafts themselves; nothing is ever fetched. `format` is a remark, as the drafts have it.

Results are wider than JSON: tuples and sets are checked as arrays, a Decimal as a number, keys of mappings have to be
text, and dates, times and bytes are of no type that a schema can ask for. The work is bounded: by a number of steps,
and for patterns by a time, since an unlucky one can keep any search busy for years.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from statemachine_flow.errors import StepError
from statemachine_flow.schema_patterns import PATTERN_KEYWORDS, InvalidPattern, begin_search, unsupported

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

#: How many keywords are looked at for one result.
MAX_CHECKS: Final = 10_000_000
#: Of the ways in which a result breaks its schema, how many are compared for the one to be told.
_COMPARED: Final = 20
_KEY_SHOWN, _PATH_SHOWN = 80, 400


def conform(schema: Mapping[str, Any], value: Any) -> None:
    """Check a result.

    Args:
        schema: JSON Schema; it is compiled once for as long as it is used.
        value: the result.

    Raises:
        StepError: `step.schema`, named `SchemaError`: where it breaks the schema and by which keyword, never the
            value; or `definition.schema`, the schema itself is wrong.

    Example:
        >>> conform({"properties": {"n": {"type": "integer"}}}, {"n": "three"})
        Traceback (most recent call last):
        ...
        statemachine_flow.errors.StepError: the result breaks `type` of its output_schema at $.n: it is no integer
    """
    try:
        text = msgspec.json.encode(schema)
    except (TypeError, ValueError, OverflowError) as error:
        raise _invalid(str(error)) from None
    validator = _compiled(text)
    if isinstance(validator, str):
        raise _invalid(validator)
    breach = _first_error(validator, value)
    if breach is not None:
        raise _broken(f"breaks {_sentence(breach)}")


def _invalid(message: str) -> StepError:
    return StepError(f"the output_schema is not valid: {message}", kind="definition.schema", name="SchemaError")


def _broken(message: str) -> StepError:
    return StepError(f"the result {message}", kind="step.schema", name="SchemaError")


# --- schemas


@functools.lru_cache(maxsize=256)
def _compiled(text: bytes) -> Validator | str:
    """What checks results against a schema, or what is wrong with the schema."""
    # It takes a while to load, and most processes check no result.
    import jsonschema.exceptions  # noqa: PLC0415
    import jsonschema.validators  # noqa: PLC0415
    import referencing  # noqa: PLC0415

    if (fault := unsupported(text)) is not None:
        return fault
    schema = msgspec.json.decode(text)
    draft: Any = jsonschema.validators.Draft202012Validator
    if isinstance(schema, dict) and "$schema" in schema:
        # Taken out, for a schema that refers to itself would get a validator that does not count.
        named = schema.pop("$schema")
        draft = jsonschema.validators.validator_for({"$schema": named}, None) if isinstance(named, str) else None
        if draft is None:
            return "`$schema` names no draft that is known here"
    try:
        draft.check_schema(schema)
        keywords = {**draft.VALIDATORS, "uniqueItems": _unique_items, **PATTERN_KEYWORDS}
        counting = jsonschema.validators.extend(draft, {name: _counted(check) for name, check in keywords.items()})
        validator: Validator = counting(schema, registry=referencing.Registry())
    except jsonschema.exceptions.SchemaError as error:
        return f"{_path(error.absolute_path)} is not as JSON Schema has it"
    except RecursionError:
        return "it is nested too deeply"
    return validator


# --- checks


class _Exhausted(Exception):  # noqa: N818 - it says what happened
    """The work for one result went over its bound."""


_left = threading.local()


def _counted(check: Callable[..., Any]) -> Callable[..., Any]:
    """A keyword's check that is counted."""

    def counted(validator: Any, wanted: Any, value: Any, schema: Any) -> Any:
        _left.checks -= 1
        if _left.checks < 0:
            raise _Exhausted
        return check(validator, wanted, value, schema)

    return counted


def _first_error(validator: Validator, value: Any) -> ValidationError | None:
    from jsonschema.exceptions import best_match  # noqa: PLC0415 - loaded by now
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - as above

    plain = _plain(value, "$")
    _left.checks = MAX_CHECKS
    begin_search()
    try:
        found: ValidationError | None = best_match(itertools.islice(validator.iter_errors(plain), _COMPARED))
    except (_Exhausted, TimeoutError):
        raise _broken("takes too much work to be checked against its output_schema") from None
    except RecursionError:
        raise _broken("is nested too deeply for its output_schema, or the schema refers to itself for ever") from None
    except InvalidPattern as error:
        raise _invalid(str(error)) from None
    except Unresolvable:
        raise _invalid("a `$ref` leads to nothing in the schema, and nothing is fetched") from None
    return found


def _sentence(error: ValidationError) -> str:
    """Where and by which keyword; what the schema wants is the document's own, what the value has is not shown."""
    keyword, wanted = error.validator, error.validator_value
    place = _path(error.absolute_path)
    if keyword is None:  # of a schema that is `false` the library does not say where it is
        return "its output_schema: something is there that must not be"
    text = f"`{keyword}` of its output_schema at {place}"
    if keyword == "type":
        return f"{text}: it is no {' or '.join([wanted] if isinstance(wanted, str) else wanted)}"
    if keyword == "required" and isinstance(error.instance, dict):
        missing = ", ".join(f"'{name[:_KEY_SHOWN]}'" for name in wanted if name not in error.instance)
        return f"{text}: {missing} is not there"
    return text


def _path(keys: Any) -> str:
    parts = (f"[{key}]" if isinstance(key, int) else f".{key[:_KEY_SHOWN]}" for key in keys)
    text = "$" + "".join(parts)
    return text if len(text) <= _PATH_SHOWN else f"{text[:_PATH_SHOWN]}..."


def _plain(value: Any, path: str) -> Any:
    """A result as the library has it: mappings as dict, arrays as list."""
    try:
        if isinstance(value, Mapping):
            if not all(isinstance(key, str) for key in value):
                raise _broken(f"has a mapping at {path[:_PATH_SHOWN]} whose keys are no text")
            return {key: _plain(item, f"{path}.{key[:_KEY_SHOWN]}") for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
    except RecursionError:
        raise _broken("is nested too deeply to be checked, or holds itself") from None
    return value


def _unique_items(validator: Any, wanted: Any, value: Any, _schema: Any) -> Iterator[Any]:
    """`uniqueItems` in linear time; the library compares every pair of mappings."""
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415 - loaded by now

    if wanted and validator.is_type(value, "array"):
        seen = {_comparable(item) for item in value}
        if len(seen) < len(value):
            yield ValidationError("an item stands twice")


def _comparable(value: Any) -> Hashable:
    """Equal for values that are equal in JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return frozenset((key, _comparable(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(map(_comparable, value))
    return (type(value), value) if isinstance(value, bool) else value
