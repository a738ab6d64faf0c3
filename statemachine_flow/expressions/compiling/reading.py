"""Literals, names and reading: `a.b`, `a[b]`, `a[b:c]`. A dot reads a key of a mapping, never an attribute."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any, Final

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions.budget import Evaluation
from statemachine_flow.expressions.compiling.compiler import Code, Compiler, Handler
from statemachine_flow.expressions.operators import read_item, read_key, read_slice
from statemachine_flow.expressions.values import CONSTANTS, MAX_INTEGER, suggestion, word_for

#: One step of an access path: what it reads from a value.
Link = Callable[[Evaluation, Any], Any]


def calls(node: ast.expr, *names: str) -> bool:
    """Whether a node is a call of one of these functions."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def only_reads(node: ast.expr) -> bool:
    """Whether an expression's value is always one that was there already, or written in it."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            return False
        node = node.value
    if isinstance(node, ast.IfExp):
        return only_reads(node.body) and only_reads(node.orelse)
    if isinstance(node, ast.Call) and calls(node, "default", "raw"):
        return all(map(only_reads, node.args))
    return isinstance(node, (ast.Name, ast.Constant))


def is_null(node: ast.expr) -> bool:
    """Whether a node is the constant null, in either spelling."""
    return (isinstance(node, ast.Constant) and node.value is None) or (isinstance(node, ast.Name) and node.id == "null")


def _constant(compiler: Compiler, node: ast.Constant) -> Code:
    value = node.value
    match value:
        case None | bool():
            pass
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                message = "half of a surrogate pair is no character"
                raise compiler.source.error(message, node, "expression.syntax") from None
        case int() | float():
            if value > MAX_INTEGER if isinstance(value, int) else math.isinf(value):
                raise compiler.source.error("the number is out of range", node, "expression.limit")
        case _:
            raise compiler.forbidden(node, f"a literal of type {type(value).__name__}")
    return lambda _evaluation: value


def _list(compiler: Compiler, node: ast.List | ast.Tuple) -> Code:
    items = tuple(compiler.code(item) for item in node.elts)
    offset = compiler.source.offset(node)

    def code(evaluation: Evaluation) -> Any:
        values = [item(evaluation) for item in items]
        evaluation.offset = offset
        evaluation.build(len(values))
        return values

    return code


def _mapping(compiler: Compiler, node: ast.Dict) -> Code:
    pairs: list[tuple[Code, int, Code]] = []
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            raise compiler.forbidden(value, "unpacking with **")
        pairs.append((compiler.code(key), compiler.source.offset(key), compiler.code(value)))

    def code(evaluation: Evaluation) -> Any:
        result = {}
        for key, offset, value in pairs:
            name = key(evaluation)
            evaluation.offset = offset
            if not isinstance(name, str):
                raise ExpressionError(f"a key is a text, not {word_for(name)}", kind="expression.type")
            evaluation.build(1)
            result[name] = value(evaluation)
        return result

    return code


def _access(compiler: Compiler, node: ast.Name | ast.Attribute | ast.Subscript) -> Code:
    """A value and everything that is read from it; a chain of any length is one level deep."""
    links: list[Link] = []
    keys: list[str | None] = []
    root: ast.expr = node
    while isinstance(root, (ast.Attribute, ast.Subscript)):
        compiler.operations += 1
        link, key = _attribute(compiler, root) if isinstance(root, ast.Attribute) else _subscript(compiler, root)
        links.append(link)
        keys.append(key)
        root = root.value
    links.reverse()
    keys.reverse()
    start = _name(compiler, root, keys) if isinstance(root, ast.Name) else compiler.code(root)
    if not links:
        return start

    def code(evaluation: Evaluation) -> Any:
        value = start(evaluation)
        for link in links:
            value = link(evaluation, value)
        return value

    return code


def _attribute(compiler: Compiler, node: ast.Attribute) -> tuple[Link, str]:
    key, offset = node.attr, compiler.source.end(node) - len(node.attr)
    if key.startswith("_"):
        raise compiler.forbidden(offset, f"the name '{key}'")

    def link(evaluation: Evaluation, value: Any) -> Any:
        if type(value) is dict and key in value:
            return value[key]
        evaluation.offset = offset
        return read_key(value, key, key)

    return link, key


def _subscript(compiler: Compiler, node: ast.Subscript) -> tuple[Link, str | None]:
    if isinstance(node.slice, ast.Slice):
        return _part(compiler, node.slice), None
    key, offset = compiler.code(node.slice), compiler.source.offset(node.slice)
    constant = node.slice.value if isinstance(node.slice, ast.Constant) else None
    name = constant if isinstance(constant, str) else None

    def link(evaluation: Evaluation, value: Any) -> Any:
        position = key(evaluation)
        evaluation.offset = offset
        return read_item(value, position, name)

    return link, name


def _part(compiler: Compiler, node: ast.Slice) -> Link:
    offset = compiler.source.offset(node)
    bounds = [compiler.code(bound) if bound is not None else None for bound in (node.lower, node.upper, node.step)]

    def link(evaluation: Evaluation, value: Any) -> Any:
        start, stop, step = (bound(evaluation) if bound is not None else None for bound in bounds)
        evaluation.offset = offset
        return read_slice(evaluation, value, start, stop, step)

    return link


def _name(compiler: Compiler, node: ast.Name, keys: Sequence[str | None]) -> Code:
    """The code of a name, which is noted as a reference together with the keys that are read from it."""
    name, offset = node.id, compiler.source.offset(node)
    if name.startswith("_"):
        raise compiler.forbidden(node, f"the name '{name}'")
    if name in compiler.scope:
        place = compiler.scope[name]
        return lambda evaluation: evaluation.variables[place]
    if name in CONSTANTS:
        value = CONSTANTS[name]
        return lambda _evaluation: value
    compiler.refer((name, *(key for key in takewhile(lambda key: key is not None, keys) if key is not None)))

    def code(evaluation: Evaluation) -> Any:
        evaluation.offset = offset
        try:
            return evaluation.names[name]
        except KeyError:
            hint = suggestion(name, evaluation.names)
        raise ExpressionError(f"there is no '{name}'", kind="expression.undefined", hint=hint)

    return code


HANDLERS: Final[Mapping[type[ast.expr], Handler]] = {
    ast.Constant: _constant,
    ast.List: _list,
    ast.Tuple: _list,
    ast.Dict: _mapping,
    ast.Name: _access,
    ast.Attribute: _access,
    ast.Subscript: _access,
}
