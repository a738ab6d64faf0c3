"""Text -> a Python syntax tree of one expression, inside the limits; nothing is compiled or run.

Why Python's own parser and no expression library: `simpleeval`, the candidate, evaluates such a tree, but each of its
node handlers had to be replaced (attributes that call `getattr`, truthiness, comprehensions that change the
evaluator, errors without positions), and what then remains walks every value that is read: 6 ms for one key beside a
list of 20,000 texts, and a RecursionError on deep data. Without it there is no attribute access to guard at all.
"""

from __future__ import annotations

import ast
from typing import Final, final

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions.scan import syntax_error
from statemachine_flow.expressions.tokens import check_text

# No text literal spans lines, so that a line end is a blank like any other.
_BLANKS: Final = str.maketrans("\r\n", "  ")


@final
class Source:
    r"""The text of an expression and its tree.

    Raises:
        ExpressionError: `expression.syntax`, `.too_deep`, `.limit` or `.forbidden`.

    Example:
        >>> source = Source("'ä' +\n b")
        >>> source.offset(source.tree.right)
        7
    """

    def __init__(self, text: str) -> None:
        check_text(text)
        self.text = text
        # Brackets around the whole let Python's parser take what the compiler then refuses by its name.
        wrapped = f"({text.translate(_BLANKS)})"
        self._bytes = wrapped.encode()
        try:
            self.tree = ast.parse(wrapped, mode="eval").body
        except SyntaxError as error:
            raise syntax_error("this is not an expression", text, self._inside((error.offset or 1) - 1)) from None
        except (ValueError, RecursionError, MemoryError):
            raise self.error("the expression cannot be parsed", 0, "expression.too_deep") from None

    def offset(self, node: ast.AST) -> int:
        """Where a node begins, in characters of the text."""
        column: int = node.col_offset  # type: ignore[attr-defined] # every node that is asked about has a place
        return self._inside(self._characters(column))

    def end(self, node: ast.expr) -> int:
        """Where a node ends, in characters of the text."""
        return self._inside(self._characters(node.end_col_offset or 0))

    def _characters(self, column: int) -> int:
        return len(self._bytes[:column].decode())

    def _inside(self, column: int) -> int:
        return min(max(column - 1, 0), len(self.text))

    def error(self, message: str, place: ast.AST | int, kind: str, hint: str | None = None) -> ExpressionError:
        """An error at a node or an offset."""
        offset = place if isinstance(place, int) else self.offset(place)
        return ExpressionError(message, kind=kind, expression=self.text, offset=offset, hint=hint)
