"""Where in a shell command a placeholder stands: only outside quotes is a quoted value one word.

In `grep "${{ x }}"` the quotes that were to protect the value become characters of it, and `$(...)` in the value a
command. So a placeholder has to stand where one would write a bare word. Following the shell's quotes exactly takes a
shell: what is not understood here for certain is refused. A command that evaluates its arguments once more (`eval`,
`sh -c`, `ssh`) is beyond any check.
"""

from __future__ import annotations

import re
from typing import Final

#: What the text after a mark stands in, by the last character of the state; the characters before it are what that
#: stands in itself. Bare text is "" outside everything and "(" inside `(...)`.
_UNCLEAR: Final = "?"
_BARE_MARKS: Final = re.compile(
    r"""\\.?|'|\$'|\$?"|`|<<<|<<|\(\(|\$?\(|\)|(?<![^\s;&|()])\#|(?<![^\s;&|()])case(?!\S)""", re.DOTALL
)
_MARKS: Final = {
    "": _BARE_MARKS,
    "(": _BARE_MARKS,
    "'": re.compile("'"),
    "#": re.compile("\n"),
    '"': re.compile(r"""\\.?|"|`|\$\(\(|\$\(|\$\{[A-Za-z0-9_]+\}|\$\{""", re.DOTALL),
}
_OPENS: Final = {"'": "'", '"': '"', '$"': '"', "#": "#", "(": "(", "$(": "("}
_CLOSES: Final = {"'": "'", '"': '"', "#": "\n", "(": ")"}
#: Quotes with escapes of their own, commands in backquotes, here-documents, arithmetic, `${x...}` inside quotes.
_UNCLEAR_MARKS: Final = frozenset({"$'", "`", "<<", "((", "$((", "${"})

_PLACES: Final = {
    "'": "inside quotes",
    '"': "inside quotes",
    "#": "in a comment",
    _UNCLEAR: "where quoting is unclear (after `, <<, $', $(( or ${ in quotes)",
}


def follow(state: str, text: str) -> str:
    """What the end of a piece of a shell command stands in.

    Args:
        state: what its beginning stands in; "" at the beginning of the command.
        text: the piece.

    Example:
        >>> follow("", "echo 'it"), follow("'", "s' $(date"), follow("", 'echo "$(ls "')
        ("'", '(', '"("')
    """
    position = 0
    while not state.endswith(_UNCLEAR) and (match := _MARKS[state[-1:]].search(text, position)):
        state = _after(state, match.group())
        position = match.end()
    return state


def _after(state: str, mark: str) -> str:
    if mark in _UNCLEAR_MARKS or (mark == "case" and state):
        # Inside brackets, the `)` of a `case` would be taken for theirs.
        return _UNCLEAR
    if mark == _CLOSES.get(state[-1:]):
        return state[:-1]
    return state + _OPENS.get(mark, "")


def misplaced(state: str) -> str | None:
    """Where a placeholder stands that cannot stand there, in words; None if it can.

    Example:
        >>> misplaced(follow("", 'echo "'))
        'inside quotes'
    """
    return _PLACES.get(state[-1:])
