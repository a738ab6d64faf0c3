"""Operators, comparisons, `and`/`or`/`not` and `if`/`else`; conditions are booleans and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, Final

from statemachine_flow.expressions import operators
from statemachine_flow.expressions.budget import Evaluation
from statemachine_flow.expressions.compiling.compiler import Code, Compiler, Handler, boolean
from statemachine_flow.expressions.compiling.reading import is_null


def _unary(compiler: Compiler, node: ast.UnaryOp) -> Code:
    operand, offset = compiler.code(node.operand), compiler.source.offset(node)
    if isinstance(node.op, ast.Not):
        operate: Callable[[Any], Any] = _opposite
    elif isinstance(node.op, ast.USub):
        operate = operators.negate
    else:
        raise compiler.forbidden(node, "the sign +")

    def code(evaluation: Evaluation) -> Any:
        value = operand(evaluation)
        evaluation.offset = offset
        return operate(value)

    return code


def _opposite(value: Any) -> bool:
    return not boolean(value, "'not'")


def _binary(compiler: Compiler, node: ast.BinOp) -> Code:
    if isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
        raise compiler.forbidden(node, "text formatting with %")
    return _between(compiler, operators.ARITHMETIC[type(node.op).__name__], node.left, node.right)


def _between(compiler: Compiler, operate: operators.Binary, left_node: ast.expr, right_node: ast.expr) -> Code:
    left, right, offset = (
        compiler.code(left_node),
        compiler.code(right_node),
        compiler.source.offset(left_node),
    )

    def code(evaluation: Evaluation) -> Any:
        first, second = left(evaluation), right(evaluation)
        evaluation.offset = offset
        return operate(evaluation, first, second)

    return code


def _compare(compiler: Compiler, node: ast.Compare) -> Code:
    operates = [_comparison(compiler, *pair) for pair in zip(node.ops, node.comparators, strict=True)]
    if len(operates) == 1:
        return _between(compiler, operates[0], node.left, node.comparators[0])
    first = compiler.code(node.left)
    rest = [
        (operate, compiler.code(operand), compiler.source.offset(operand))
        for operate, operand in zip(operates, node.comparators, strict=True)
    ]

    def code(evaluation: Evaluation) -> Any:
        left = first(evaluation)
        for operate, operand, offset in rest:
            right = operand(evaluation)
            evaluation.offset = offset
            if not operate(evaluation, left, right):
                return False
            left = right
        return True

    return code


def _comparison(compiler: Compiler, op: ast.cmpop, right: ast.expr) -> operators.Binary:
    if not isinstance(op, (ast.Is, ast.IsNot)):
        return operators.COMPARISONS[type(op).__name__]
    if not is_null(right):
        raise compiler.forbidden(right, "'is' with anything but null", "use == or !=")
    if isinstance(op, ast.Is):
        return lambda _evaluation, left, _right: left is None
    return lambda _evaluation, left, _right: left is not None


def _logic(compiler: Compiler, node: ast.BoolOp) -> Code:
    parts = [(compiler.code(operand), compiler.source.offset(operand)) for operand in node.values]
    stop, word = (False, "'and'") if isinstance(node.op, ast.And) else (True, "'or'")

    def code(evaluation: Evaluation) -> Any:
        for operand, offset in parts:
            value = operand(evaluation)
            evaluation.offset = offset
            if boolean(value, word) is stop:
                return stop
        return not stop

    return code


def _choice(compiler: Compiler, node: ast.IfExp) -> Code:
    test, body, other = compiler.code(node.test), compiler.code(node.body), compiler.code(node.orelse)
    offset = compiler.source.offset(node.test)

    def code(evaluation: Evaluation) -> Any:
        value = test(evaluation)
        evaluation.offset = offset
        return body(evaluation) if boolean(value, "'if'") else other(evaluation)

    return code


HANDLERS: Final[Mapping[type[ast.expr], Handler]] = {
    ast.UnaryOp: _unary,
    ast.BinOp: _binary,
    ast.Compare: _compare,
    ast.BoolOp: _logic,
    ast.IfExp: _choice,
}
