r"""Text of documents, steps and users made harmless: for a line on a terminal, and for XML."""

from __future__ import annotations

import re
from typing import Final
from xml.sax.saxutils import escape

#: What could drive a terminal or reorder a line, and what nobody sees, by which two names could look the same: C0, DEL
#: and C1 controls, line separators, halves of surrogate pairs, fillers, and all that Unicode has for formatting (Cf).
_HIDDEN: Final = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180e"
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_JOINERS: Final = "\u200c\u200d"
_UNSAFE: Final = re.compile(f"[{_HIDDEN}{_JOINERS}]")
_UNSAFE_IN_LINES: Final = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
#: What joiners may stand between, letters of the scripts and pictures that they are there for: Persian and Hindi are
#: misspelt without them, and a family falls apart. Elsewhere they are as invisible as all the others.
_JOINED: Final = re.compile(
    f"(?![{_HIDDEN}])[\u0600-\u1fff\u2190-\u2bff\ufe0f\U0001f000-\U0001faff\U00010a00-\U00011fff]"
)
#: What no XML document may hold, however it is written.
_NOT_XML: Final = re.compile("[\ufffe\uffff]")


def sanitize(text: str, limit: int | None = None) -> str:
    r"""Text of a document, a step or the command line, as one line that does nothing to a terminal.

    Args:
        text: anything.
        limit: the most characters to show; longer text ends in `...`.

    Example:
        >>> print(sanitize("a\x1b[2Jb"), sanitize("x" * 9, 6))
        a\x1b[2Jb xxx...
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - 3] + "..."
    return _UNSAFE.sub(_escaped, text)


def sanitize_lines(text: str) -> str:
    r"""Like `sanitize`, for text of several lines: line ends and tabs stay.

    Example:
        >>> sanitize_lines("a\n\x1b[2Jb")
        'a\n\\x1b[2Jb'
    """
    return _UNSAFE_IN_LINES.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    if match[0] in _JOINERS:
        text, place = match.string, match.start()
        if place > 0 and _JOINED.match(text, place - 1) and _JOINED.match(text, place + 1):
            return match[0]
    return match[0].encode("unicode_escape").decode("ascii")


def xml_text(text: str) -> str:
    """Text as it stands between the tags of an XML document, or in an attribute with double quotes.

    Example:
        >>> xml_text('a < "b"')
        'a &lt; &quot;b&quot;'
    """
    return escape(_NOT_XML.sub("\ufffd", sanitize(text)), {'"': "&quot;"})
