"""An expression's text before Python's parser sees it.

That parser may use all of its stack, warn, or import a module on some texts. `check_text` lets through only texts on
which it does none of that: plain tokens, brackets that match, few levels of nesting, known escapes.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping
from typing import Final

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions.budget import MAX_DEPTH, MAX_TEXT
from statemachine_flow.expressions.scan import TEXT_LITERAL, syntax_error

_BLANKS: Final = r"[ \t\r\n]*"
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_NUMBER: Final = r"(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![0-9A-Za-z_])"
_TOKEN: Final = re.compile(
    rf"""{_BLANKS}(?:
      (?P<literal>(?i:[rubft]|rb|br|rf|fr|rt|tr)?(?:{TEXT_LITERAL}))
    | \.{_BLANKS}(?P<key>{_NAME})
    | (?P<prefix>[-+]|not(?![A-Za-z0-9_]))
    | (?P<plain>{_NAME}|{_NUMBER}|\*\*|//|==|!=|<=|>=|:(?!=)|<(?!<)|>(?!>)|[*/%,.])
    | (?P<open>[(\[{{])
    | (?P<close>[)\]}}])
    | (?P<foreign>:=|<<|>>|[&|^~@])
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(r"\\(?:[\\'\"abfnrtv]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8})")
_BRACKETS: Final = {"(": ")", "[": "]", "{": "}"}
_BACKSLASH: Final = re.compile(r"\\.")
_INSTEAD: Final = {
    "=": "did you mean '=='?",
    "&": "did you mean 'and'?",
    "|": "did you mean 'or'? A function is written f(x)",
    "!": "did you mean 'not' or '!='?",
    "#": "an expression holds no comments",
    "$": "a name stands without '$' in an expression",
    "`": "a text stands in ' or \"",
}


def check_text(text: str) -> None:
    """Refuse a text that is too long or too deep, or that is no sequence of tokens.

    Raises:
        ExpressionError: `expression.syntax`, `.too_deep`, `.limit` or `.forbidden`, with the offset.
    """
    open_brackets: list[int] = []
    # Signs and `not` in a row nest as deep as they are many.
    prefixes = position = 0
    kind: str | None = None
    while kind != "end":
        match = _TOKEN.match(text, position, MAX_TEXT + 1)
        if match is None:
            raise _too_long(text) if len(text) > MAX_TEXT else _no_token(text, position)
        kind, position = match.lastgroup, match.end()
        if position > MAX_TEXT:
            raise _too_long(text)
        prefixes = prefixes + 1 if kind == "prefix" else 0
        if kind in _CHECKS:
            _CHECKS[kind](text, match, open_brackets)
            if len(open_brackets) > MAX_DEPTH:
                raise _too_deep(text, position)
        if prefixes > MAX_DEPTH:
            raise _too_deep(text, position)


def _check_open(_text: str, match: re.Match[str], open_brackets: list[int]) -> None:
    open_brackets.append(match.start("open"))


def _check_close(text: str, match: re.Match[str], open_brackets: list[int]) -> None:
    bracket = match["close"]
    if not open_brackets or _BRACKETS[text[open_brackets.pop()]] != bracket:
        raise syntax_error(f"'{bracket}' closes nothing that is open", text, match.start("close"))


def _check_key(text: str, match: re.Match[str], _open_brackets: list[int]) -> None:
    key = match["key"]
    if keyword.iskeyword(key):
        hint = f"""write ["{key}"] instead of .{key}"""
        raise syntax_error(f"'{key}' is a reserved word", text, match.start("key"), hint)


def _check_foreign(text: str, match: re.Match[str], _open_brackets: list[int]) -> None:
    operator = match["foreign"]
    raise _forbidden(f"the operator {operator}", text, match.start("foreign"), _INSTEAD.get(operator))


def _check_end(text: str, match: re.Match[str], open_brackets: list[int]) -> None:
    if open_brackets:
        position = open_brackets[-1]
        bracket = text[position]
        raise syntax_error(f"'{bracket}' is never closed with '{_BRACKETS[bracket]}'", text, position)
    if match.start() == 0:
        raise syntax_error("the expression is empty", text, 0)


def _check_literal(text: str, match: re.Match[str], _open_brackets: list[int]) -> None:
    start, literal = match.start("literal"), match["literal"]
    quote = literal[-1]
    prefix = literal[: literal.index(quote)].lower()
    if prefix not in ("", "r"):
        hint = "join texts with + or join()" if "f" in prefix else None
        raise _forbidden(f"a text with the prefix '{prefix}'", text, start, hint)
    if literal == quote * 2 and text.startswith(quote, match.end()):
        raise syntax_error("a text stands between single quotes of either kind, not between three", text, start)
    try:
        literal.encode()
    except UnicodeEncodeError as error:
        raise syntax_error("half of a surrogate pair is no character", text, start + error.start) from None
    for escape in _BACKSLASH.finditer(literal if prefix == "" else ""):
        if not _ESCAPE.match(literal, escape.start()):
            hint = "a backslash itself is written \\\\"
            raise syntax_error("unknown escape in a text", text, start + escape.start(), hint)


_CHECKS: Final[Mapping[str | None, Callable[[str, re.Match[str], list[int]], None]]] = {
    "literal": _check_literal,
    "key": _check_key,
    "open": _check_open,
    "close": _check_close,
    "foreign": _check_foreign,
    "end": _check_end,
}


def _no_token(text: str, position: int) -> ExpressionError:
    position += len(text) - position - len(text[position:].lstrip(" \t\r\n"))
    character = text[position]
    if character in "'\"":
        return syntax_error("the text is never closed", text, position)
    if character in "0123456789":
        return syntax_error("this is not a number", text, position)
    shown = f"'{character}'" if character.isprintable() else f"U+{ord(character):04X}"
    return syntax_error(f"unexpected {shown}", text, position, _INSTEAD.get(character))


def _forbidden(what: str, text: str, offset: int, hint: str | None) -> ExpressionError:
    message, kind = f"{what} is not part of the language", "expression.forbidden"
    return ExpressionError(message, kind=kind, expression=text, offset=offset, hint=hint)


def _too_long(text: str) -> ExpressionError:
    return _over(f"longer than {MAX_TEXT:,} characters", "limit", text, MAX_TEXT)


def _too_deep(text: str, position: int) -> ExpressionError:
    return _over(f"nested deeper than {MAX_DEPTH} levels", "too_deep", text, position - 1)


def _over(what: str, kind: str, text: str, offset: int) -> ExpressionError:
    return ExpressionError(
        f"the expression is {what}", kind=f"expression.{kind}", expression=text[:MAX_TEXT], offset=offset
    )
