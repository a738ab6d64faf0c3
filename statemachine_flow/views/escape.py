r"""Text of documents, steps and users made harmless: for a line on a terminal, and for XML."""

from __future__ import annotations

import re
from typing import Final
from xml.sax.saxutils import escape

#: What could drive a terminal or reorder a line: C0, DEL and C1 controls, line separators, marks and overrides of
#: direction, and halves of surrogate pairs.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_UNSAFE_IN_LINES: Final = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
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
    return match[0].encode("unicode_escape").decode("ascii")


def xml_text(text: str) -> str:
    """Text as it stands between the tags of an XML document, or in an attribute with double quotes.

    Example:
        >>> xml_text('a < "b"')
        'a &lt; &quot;b&quot;'
    """
    return escape(_NOT_XML.sub("\ufffd", sanitize(text)), {'"': "&quot;"})
