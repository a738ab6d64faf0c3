"""Calls of the function table, and loops. `default`, `any` and `all` do not compute all that they are given."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions.budget import Evaluation, iteration_cost
from statemachine_flow.expressions.compiling.compiler import Code, Compiler, Handler, boolean
from statemachine_flow.expressions.functions import FUNCTIONS, Function
from statemachine_flow.expressions.values import CONSTANTS, LIST, suggestion, word_for

#: Runs through a loop: yields once for each iteration that passes its conditions, with the variables bound.
Loop = Callable[[Evaluation], Iterator[None]]


def _call(compiler: Compiler, node: ast.Call) -> Code:
    function = _function(compiler, node)
    if node.keywords:
        raise compiler.forbidden(node.keywords[0], "an argument with a name")
    if not function.takes(len(node.args)):
        message = f"{function.signature} does not take {len(node.args)} arguments"
        raise compiler.source.error(message, node, "expression.type")
    if function.name == "default":
        return _default(compiler, node)
    if function.name in ("any", "all") and isinstance(node.args[0], ast.GeneratorExp):
        return _any_or_all(compiler, node.args[0], stop=function.name == "any", name=f"{function.name}()")
    arguments = [_argument(compiler, argument) for argument in node.args]
    offset = compiler.source.offset(node)

    def code(evaluation: Evaluation) -> Any:
        values = [argument(evaluation) for argument in arguments]
        evaluation.offset = offset
        return function.call(evaluation, values)

    return code


def _function(compiler: Compiler, node: ast.Call) -> Function:
    match node.func:
        case ast.Name(id=name) if name in FUNCTIONS:
            return FUNCTIONS[name]
        case ast.Name(id=name) if not name.startswith("_"):
            hint = suggestion(name, FUNCTIONS)
            raise compiler.source.error(f"there is no function '{name}'", node, "expression.undefined", hint)
        case ast.Attribute(attr=name):
            hint = f"write {FUNCTIONS[name].signature}" if name in FUNCTIONS else None
            raise compiler.forbidden(node, "calling a method", hint)
        case _:
            raise compiler.forbidden(node, "calling anything but a function by its name")


def _argument(compiler: Compiler, node: ast.expr) -> Code:
    return _list_loop(compiler, node) if isinstance(node, ast.GeneratorExp) else compiler.code(node)


def _default(compiler: Compiler, node: ast.Call) -> Code:
    compiler.guards += 1
    value = _argument(compiler, node.args[0])
    compiler.guards -= 1
    fallback = _argument(compiler, node.args[1])

    def code(evaluation: Evaluation) -> Any:
        try:
            return value(evaluation)
        except ExpressionError as error:
            if error.kind != "expression.undefined":
                raise
        return fallback(evaluation)

    return code


def _any_or_all(compiler: Compiler, node: ast.GeneratorExp, *, stop: bool, name: str) -> Code:
    loop, element = _loop(compiler, node)
    offset = compiler.source.offset(node.elt)

    def code(evaluation: Evaluation) -> Any:
        for _ in loop(evaluation):
            value = element(evaluation)
            evaluation.offset = offset
            if boolean(value, name) is stop:
                return stop
        return not stop

    return code


def _list_loop(compiler: Compiler, node: ast.ListComp | ast.GeneratorExp) -> Code:
    loop, element = _loop(compiler, node)

    def code(evaluation: Evaluation) -> Any:
        values = []
        for _ in loop(evaluation):
            evaluation.build(1)
            values.append(element(evaluation))
        return values

    return code


@attrs.frozen
class _Level:
    """One `for` of a loop with its conditions."""

    items: Code
    #: Places of its variables.
    places: tuple[int, ...]
    #: Whether it takes items apart, even into one variable.
    takes_apart: bool
    conditions: tuple[tuple[Code, int], ...]
    #: Where what it goes through stands.
    offset: int

    def iterations(self, evaluation: Evaluation, cost: int) -> Iterator[None]:
        """Bind each item that passes the conditions."""
        items = self.items(evaluation)
        evaluation.offset = self.offset
        if not isinstance(items, LIST):
            hint = "keys(), values() or items() of it" if isinstance(items, Mapping) else None
            message = f"a loop goes through a list, not {word_for(items)}"
            raise ExpressionError(message, kind="expression.type", hint=hint)
        for item in items:
            evaluation.offset = self.offset
            evaluation.spend(cost)
            self._bind(evaluation, item)
            if self._passes(evaluation):
                yield

    def _bind(self, evaluation: Evaluation, item: Any) -> None:
        parts = item if self.takes_apart else (item,)
        if not isinstance(parts, LIST) or len(parts) != len(self.places):
            raise ExpressionError(f"cannot take {word_for(item)} apart into {len(self.places)} variables")
        for place, part in zip(self.places, parts, strict=True):
            evaluation.variables[place] = part

    def _passes(self, evaluation: Evaluation) -> bool:
        for condition, offset in self.conditions:
            value = condition(evaluation)
            evaluation.offset = offset
            if not boolean(value, "'if'"):
                return False
        return True


def _loop(compiler: Compiler, node: ast.ListComp | ast.GeneratorExp) -> tuple[Loop, Code]:
    """The loop of a comprehension and the code of its element."""
    outer, before = compiler.scope, compiler.operations
    levels = [_level(compiler, generator) for generator in node.generators]
    element = compiler.code(node.elt)
    compiler.scope = outer
    cost = iteration_cost(compiler.operations - before)

    def run(evaluation: Evaluation, depth: int = 0) -> Iterator[None]:
        for _ in levels[depth].iterations(evaluation, cost):
            if depth + 1 == len(levels):
                yield
            else:
                yield from run(evaluation, depth + 1)

    return run, element


def _level(compiler: Compiler, node: ast.comprehension) -> _Level:
    if node.is_async:
        raise compiler.forbidden(node.target, "async")
    # What it goes through does not see its own variables.
    items, offset = compiler.code(node.iter), compiler.source.offset(node.iter)
    takes_apart = isinstance(node.target, (ast.Tuple, ast.List))
    targets = node.target.elts if isinstance(node.target, (ast.Tuple, ast.List)) else [node.target]
    places = tuple(_variable(compiler, target) for target in targets)
    conditions = tuple((compiler.code(condition), compiler.source.offset(condition)) for condition in node.ifs)
    return _Level(items, places, takes_apart, conditions, offset)


def _variable(compiler: Compiler, target: ast.expr) -> int:
    """Bring a loop variable into reach; where its values go."""
    if not isinstance(target, ast.Name):
        raise compiler.forbidden(target, "a loop variable that is no name")
    if target.id.startswith("_") or target.id in CONSTANTS:
        raise compiler.forbidden(target, f"a loop variable named '{target.id}'")
    place = compiler.loop_variables
    compiler.loop_variables += 1
    compiler.scope = {**compiler.scope, target.id: place}
    return place


HANDLERS: Final[Mapping[type[ast.expr], Handler]] = {ast.Call: _call, ast.ListComp: _list_loop}
