"""Where in a shell command a placeholder stands: only outside quotes is a quoted value one word.

In `grep "${{ x }}"` the quotes that were to protect the value become characters of it, and `$(...)` in the value a
command. So a placeholder has to stand where one would write a bare word. Following the shell's quotes exactly takes a
shell: what is not understood here for certain is refused. A command that evaluates its arguments once more (`eval`,
`sh -c`, `let`, `ssh`) is beyond any check.
"""

from __future__ import annotations

import re
from typing import Final

# A state has a character for each thing that is open, from the outside in; no character is bare text.
_UNCLEAR: Final = "?"
#: A backslash before whatever follows, or before a line end that then joins two parts of a word.
_JOINS: Final = r"""\\\Z|(?<![ \t\n])\\\n(?![ \t\n])"""
_IN_BARE: Final = (
    # Quotes with escapes of their own, commands in backquotes, here-documents (but not `<<<`), arithmetic.
    rf"""<<<|(?P<unclear>{_JOINS}|\$'|`|<<|\$?\(\(|\$\[)|\\.|'|\$?"|\$?\(|\)"""
    # Special only where a word begins.
    r"""|(?<![^ \t\n;&|()<>])(?:\#|\[\[(?!\S)|case(?!\S))"""
)
_BARE: Final = re.compile(_IN_BARE, re.DOTALL)
_MARKS: Final = {
    "": _BARE,
    "(": _BARE,
    "[": re.compile(rf"{_IN_BARE}|]]", re.DOTALL),
    "'": re.compile("'"),
    "#": re.compile("\n"),
    '"': re.compile(rf"""(?P<unclear>{_JOINS}|`|\$\(\(|\$\[|\$\{{(?![A-Za-z0-9_]+\}}))|\\.|"|\$\(""", re.DOTALL),
}
_OPENS: Final = {"'": "'", '"': '"', '$"': '"', "#": "#", "(": "(", "$(": "(", "[[": "["}
_CLOSES: Final = {"'": "'", '"': '"', "#": "\n", "(": ")", "[": "]]"}

_PLACES: Final = {
    "'": "inside quotes",
    '"': "inside quotes",
    "#": "in a comment",
    "[": "inside [[ ]], which may evaluate it",
    _UNCLEAR: "where quoting is unclear, after one of \\ ` << $' $(( $[ or ${ in quotes",
}


def follow(state: str, text: str) -> str:
    """What is open at the end of a piece of a shell command.

    Args:
        state: what is open at its beginning; "" at the beginning of the command.
        text: the piece.

    Example:
        >>> follow("", "echo 'it"), follow("'", "s' $(date"), follow("", 'echo "$(ls "')
        ("'", '(', '"("')
    """
    position = 0
    while not state.endswith(_UNCLEAR) and (match := _MARKS[state[-1:]].search(text, position)):
        mark, position = match.group(), match.end()
        # Inside brackets, the `)` of a `case` would be taken for theirs.
        if match.lastgroup or (mark == "case" and state):
            state = _UNCLEAR
        elif mark == _CLOSES.get(state[-1:]):
            state = state[:-1]
        else:
            state += _OPENS.get(mark, "")
    return state


def misplaced(state: str) -> str | None:
    """Where a placeholder stands that cannot stand there, in words; None if it can.

    Example:
        >>> misplaced(follow("", 'echo "'))
        'inside quotes'
    """
    return _PLACES.get(state[-1:])
