"""Raw text: what a text literal is, and where a placeholder ends."""

from __future__ import annotations

import re
from typing import Final

from statemachine_flow.errors import ExpressionError

#: A regular expression for a text in quotes.
TEXT_LITERAL: Final = r"""'(?:[^'\\\r\n]|\\[^\r\n])*'|"(?:[^"\\\r\n]|\\[^\r\n])*\""""

_LANDMARK: Final = re.compile(rf"""(?:{TEXT_LITERAL})|[{{}}'"]""")


def syntax_error(message: str, text: str, offset: int, hint: str | None = None) -> ExpressionError:
    """The error for a text that is no expression."""
    return ExpressionError(message, kind="expression.syntax", expression=text, offset=offset, hint=hint)


def placeholder_end(text: str, start: int) -> int:
    """Where the `}}` stands that ends a placeholder, skipping texts and the braces of mappings.

    Args:
        text: the text with the placeholder.
        start: the first character of its expression.

    Returns:
        The offset of `}}`.

    Raises:
        ExpressionError: `expression.syntax`, it never ends; the offset is in `text`.

    Example:
        >>> placeholder_end("${{ {'a': '}}'} }} b", 3)
        16
    """
    depth = 0
    for landmark in _LANDMARK.finditer(text, start):
        found = landmark.group()
        if found == "{":
            depth += 1
        elif found == "}" and depth:
            depth -= 1
        elif found == "}":
            if text.startswith("}}", landmark.start()):
                return landmark.start()
            raise syntax_error("'}' closes nothing that is open", text, landmark.start())
        elif len(found) == 1:
            raise syntax_error("the text is never closed", text, landmark.start())
    raise syntax_error("the placeholder is never closed with '}}'", text, start - len("${{"))
