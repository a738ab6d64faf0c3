"""Raw text, before any parser sees it: tokens, nesting, text literals, and where a placeholder ends.

Python's own parser may use all of its stack, warn, or import a module on some texts. `check_text` lets through only
texts on which it does none of that: plain tokens, brackets that match, few levels of nesting, known escapes.
"""

from __future__ import annotations

import keyword
import re
from typing import Final, final

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions.budget import MAX_DEPTH, MAX_TEXT

_TEXT_LITERAL: Final = r"""'(?:[^'\\\r\n]|\\[^\r\n])*'|"(?:[^"\\\r\n]|\\[^\r\n])*\""""

_TOKEN: Final = re.compile(
    rf"""
      (?P<blank>[ \t\r\n]+)
    | (?P<prefix>(?i:[rubft]|rb|br|rf|fr|rt|tr)?)(?P<literal>{_TEXT_LITERAL})
    | (?P<number>(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![0-9A-Za-z_]))
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<open>[(\[{{])
    | (?P<close>[)\]}}])
    | (?P<foreign>:=|<<|>>|[&|^~@])
    | (?P<operator>\*\*|//|==|!=|<=|>=|[-+*/%<>,.:])
    """,
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(r"\\(?:[\\'\"abfnrtv]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8})")
_BRACKETS: Final = {"(": ")", "[": "]", "{": "}"}
#: A run of these nests as deep as it is long.
_PREFIXES: Final = frozenset({"-", "+", "not"})
_INSTEAD: Final = {
    "=": "did you mean '=='?",
    "&": "did you mean 'and'?",
    "|": "did you mean 'or'? A function is written f(x)",
    "!": "did you mean 'not' or '!='?",
    "#": "an expression holds no comments",
    "$": "a name stands without '$' in an expression",
    "`": "a text stands in ' or \"",
}
_LANDMARK: Final = re.compile(rf"""(?:{_TEXT_LITERAL})|[{{}}'"]""")


def syntax_error(message: str, text: str, offset: int, hint: str | None = None) -> ExpressionError:
    """The error for a text that is no expression."""
    return ExpressionError(message, kind="expression.syntax", expression=text, offset=offset, hint=hint)


def _forbidden(what: str, text: str, offset: int, hint: str | None) -> ExpressionError:
    message, kind = f"{what} is not part of the language", "expression.forbidden"
    return ExpressionError(message, kind=kind, expression=text, offset=offset, hint=hint)


def check_text(text: str) -> None:
    """Refuse a text that is too long or too deep, or that is no sequence of tokens.

    Raises:
        ExpressionError: `expression.syntax`, `.too_deep`, `.limit` or `.forbidden`, with the offset.
    """
    nesting = _Nesting(text)
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _no_token(text, position)
        if match.end() > MAX_TEXT:
            message = f"the expression is longer than {MAX_TEXT:,} characters"
            raise ExpressionError(message, kind="expression.limit", expression=text[:MAX_TEXT], offset=MAX_TEXT)
        if match.lastgroup == "literal":
            _check_literal(text, match)
        elif match.lastgroup == "foreign":
            raise _forbidden(f"the operator {match.group()}", text, position, _INSTEAD.get(match.group()))
        if match.lastgroup != "blank":
            nesting.take(match.group(), position)
        position = match.end()
    nesting.end()


@final
class _Nesting:
    """Follows the brackets and prefixes of a text, token by token."""

    def __init__(self, text: str) -> None:
        self._text = text
        #: What closes each open bracket, and where that stands.
        self._open: list[tuple[str, int]] = []
        self._prefixes = 0
        self._last = ""

    def take(self, token: str, position: int) -> None:
        if token in _BRACKETS:
            self._open.append((_BRACKETS[token], position))
        elif token in _BRACKETS.values():
            if not self._open or self._open.pop()[0] != token:
                raise syntax_error(f"'{token}' closes nothing that is open", self._text, position)
        elif self._last == "." and keyword.iskeyword(token):
            hint = f"""write ["{token}"] instead of .{token}"""
            raise syntax_error(f"'{token}' is a reserved word", self._text, position, hint)
        self._prefixes = self._prefixes + 1 if token in _PREFIXES else 0
        self._last = token
        if max(len(self._open), self._prefixes) > MAX_DEPTH:
            message = f"the expression is nested deeper than {MAX_DEPTH} levels"
            shown = self._text[:MAX_TEXT]
            raise ExpressionError(message, kind="expression.too_deep", expression=shown, offset=position)

    def end(self) -> None:
        if self._open:
            closing, position = self._open[-1]
            message = f"'{self._text[position]}' is never closed with '{closing}'"
            raise syntax_error(message, self._text, position)
        if not self._last:
            raise syntax_error("the expression is empty", self._text, 0)


def _check_literal(text: str, match: re.Match[str]) -> None:
    prefix, start = match["prefix"].lower(), match.start()
    if prefix not in ("", "r"):
        hint = "join texts with + or join()" if "f" in prefix else None
        raise _forbidden(f"a text with the prefix '{prefix}'", text, start, hint)
    literal = match["literal"]
    if literal in ("''", '""') and text.startswith(literal[0], match.end()):
        raise syntax_error("a text stands in single quotes of either kind, not in three", text, start)
    try:
        literal.encode()
    except UnicodeEncodeError as error:
        offset = match.start("literal") + error.start
        raise syntax_error("half of a surrogate pair is no character", text, offset) from None
    if prefix == "r":
        return
    for escape in re.finditer(r"\\.", literal):
        known = _ESCAPE.match(literal, escape.start())
        if known is None:
            hint = "a backslash itself is written \\\\"
            raise syntax_error("unknown escape in a text", text, match.start("literal") + escape.start(), hint)


def _no_token(text: str, position: int) -> ExpressionError:
    character = text[position]
    if character in "'\"":
        return syntax_error("the text is never closed", text, position)
    if character.isdecimal():
        return syntax_error("this is not a number", text, position)
    shown = f"'{character}'" if character.isprintable() else f"U+{ord(character):04X}"
    return syntax_error(f"unexpected {shown}", text, position, _INSTEAD.get(character))


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
