"""`Template`: a plain value with `${{ }}` placeholders in its texts, parsed once, filled in as often as needed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final, final

import attrs

from statemachine_flow.errors import ExpressionError
from statemachine_flow.expressions import shell
from statemachine_flow.expressions.budget import over_limit
from statemachine_flow.expressions.expression import Expression
from statemachine_flow.expressions.scan import placeholder_end
from statemachine_flow.expressions.values import LIST, Reference, to_text

#: Where in a value something stands: keys and positions, from the outside in.
Path = tuple[str | int, ...]
Problems = list[tuple[Path, ExpressionError]]

#: Characters of one text with its placeholders filled in.
MAX_RENDERED: Final = 2**22
#: Levels of lists and mappings in a template.
MAX_LEVELS: Final = 100
#: Values in a template, those inside others included.
MAX_VALUES: Final = 100_000

_OPENING: Final = re.compile(r"\$?\$\{\{")
_ESCAPED: Final = "$${{"
_LITERAL: Final = "${{"
_CLOSING: Final = "}}"
_BLANKS: Final = " \t\r\n"


@final
@attrs.frozen
class _Placeholder:
    expression: Expression
    #: Where its expression begins in the text around it.
    offset: int

    def insertion(self, names: Mapping[str, Any], *, quote: bool) -> str:
        """What stands in its place."""
        try:
            text = to_text(self.expression.evaluate(names))
        except ExpressionError as error:
            error.expression = error.expression or self.expression.text
            raise
        return shlex.quote(text) if quote and not self.expression.is_raw else text


@final
@attrs.frozen
class _Text:
    """A text with at least one placeholder."""

    text: str
    pieces: tuple[str | _Placeholder, ...]

    def render(self, names: Mapping[str, Any], *, quote: bool) -> Any:
        first = self.pieces[0]
        if not quote and len(self.pieces) == 1 and isinstance(first, _Placeholder):
            return first.expression.evaluate(names)
        if quote:
            for error in self.shell_problems():
                raise error
        texts: list[str] = []
        length = 0
        for piece in self.pieces:
            texts.append(piece if isinstance(piece, str) else piece.insertion(names, quote=quote))
            length += len(texts[-1])
            if length > MAX_RENDERED:
                raise over_limit(f"the text with its placeholders filled in exceeds {MAX_RENDERED:,} characters")
        return "".join(texts)

    def shell_problems(self) -> Iterator[ExpressionError]:
        state, before = "", ""
        for piece in self.pieces:
            if isinstance(piece, str):
                state = shell.follow(state, before + piece)
            elif not piece.expression.is_raw and (place := shell.misplaced(state)):
                yield ExpressionError(
                    f"a placeholder stands {place} of a shell command, where its value cannot be quoted",
                    kind="expression.forbidden",
                    expression=self.text,
                    offset=piece.offset,
                    hint="write it bare, it is inserted as one quoted word; or pass the value in `env`",
                )
            # For what follows, the placeholder is part of a word.
            before = "_"


@final
@attrs.frozen(eq=False, repr=False)
class Template:
    """A value that may hold placeholders, at any depth of its lists and mappings; keys are never placeholders.

    A text that is one placeholder and nothing else gives the value with its type; inside a longer text, the value
    is inserted as text, a text as it is and everything else as compact JSON. What is inserted is never looked
    through for placeholders again. `$${{` stands for a literal `${{`.

    Example:
        >>> template, problems = Template.parse({"n": "${{ inputs.n }}", "title": "No. ${{ inputs.n + 1 }}"})
        >>> template.render({"inputs": {"n": 3}})
        {'n': 3, 'title': 'No. 4'}
    """

    #: What its expressions read; see `Expression.references`.
    references: frozenset[Reference]
    #: Those of them that every expression reads inside `default` only.
    guarded: frozenset[Reference]
    #: Whether it holds no placeholder.
    is_constant: bool
    # The value itself, with a `_Text` in the place of each text that holds placeholders.
    _tree: Any

    @classmethod
    def parse(cls, value: Any) -> tuple[Template, Problems]:
        """Check a value and everything in it.

        Returns:
            The template, and every problem with its path inside the value; its `offset` is in the text it was
            found in. A template with problems is not to be rendered.

        Example:
            >>> [(path, error.offset) for path, error in Template.parse(["a", "b ${{ 1 + }}"])[1]]
            [((1,), 9)]
        """
        reader = _Reader()
        tree = reader.read(value, ())
        expressions = reader.expressions
        references = frozenset[Reference]().union(*(expression.references for expression in expressions))
        unguarded = frozenset[Reference]().union(*(each.references - each.guarded for each in expressions))
        return cls(references, references - unguarded, is_constant=not expressions, tree=tree), reader.problems

    def render(self, names: Mapping[str, Any], *, quote: bool = False) -> Any:
        """The value with its placeholders filled in; its lists and mappings are new ones each time.

        Args:
            names: what free names mean, as for `Expression.evaluate`.
            quote: whether the texts are shell commands: each inserted value is quoted as one word, unless the whole
                placeholder is `raw(...)`.

        Raises:
            ExpressionError: an expression failed; or, with `quote`, one of `shell_problems`.
        """
        return _fill(self._tree, names, quote=quote)

    def shell_problems(self) -> Problems:
        """The placeholders that cannot stand where they do in a shell command, as inside quotes, with their paths.

        Example:
            >>> Template.parse('grep "${{ inputs.x }}"')[0].shell_problems()[0][1].offset
            10
        """
        return [(path, error) for path, text in _texts(self._tree, ()) for error in text.shell_problems()]

    def __repr__(self) -> str:
        return f"<Template {'constant' if self.is_constant else sorted(self.references)}>"


def _fill(tree: Any, names: Mapping[str, Any], *, quote: bool) -> Any:
    if isinstance(tree, _Text):
        return tree.render(names, quote=quote)
    if isinstance(tree, dict):
        return {key: _fill(item, names, quote=quote) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_fill(item, names, quote=quote) for item in tree]
    return tree


def _texts(tree: Any, path: Path) -> Iterator[tuple[Path, _Text]]:
    if isinstance(tree, _Text):
        yield path, tree
    elif isinstance(tree, (dict, list)):
        for key, item in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _texts(item, (*path, key))


@final
class _Reader:
    """Reads one value: collects its expressions and its problems."""

    def __init__(self) -> None:
        self.expressions: list[Expression] = []
        self.problems: Problems = []
        self._values = 0

    def read(self, value: Any, path: Path) -> Any:
        """The value with a `_Text` in the place of each text that holds placeholders."""
        self._values += 1
        if isinstance(value, str):
            return self._text(value, path)
        if not isinstance(value, (*LIST, Mapping)) or self._refused(path):
            return value
        if isinstance(value, Mapping):
            return {key: self.read(item, (*path, key)) for key, item in value.items()}
        return [self.read(item, (*path, position)) for position, item in enumerate(value)]

    def _refused(self, path: Path) -> bool:
        """Whether to look no further into a value; the builder may be given one that holds itself."""
        if len(path) > MAX_LEVELS:
            error = ExpressionError(f"nested deeper than {MAX_LEVELS} levels", kind="expression.too_deep")
        elif self._values > MAX_VALUES:
            error = over_limit(f"more than {MAX_VALUES:,} values in one")
        else:
            return False
        if not self.problems or self.problems[-1][1].kind != error.kind:
            self.problems.append((path, error))
        return True

    def _text(self, text: str, path: Path) -> str | _Text:
        pieces: list[str | _Placeholder] = []
        literal, position = "", 0
        while match := _OPENING.search(text, position):
            literal += text[position : match.start()]
            position = match.end()
            if match.group() == _ESCAPED:
                literal += _LITERAL
                continue
            try:
                end = placeholder_end(text, position)
            except ExpressionError as error:
                self.problems.append((path, error))
                break
            if placeholder := self._placeholder(text, position, end, path):
                pieces += [literal, placeholder] if literal else [placeholder]
                literal = ""
            position = end + len(_CLOSING)
        literal += text[position:]
        if not pieces:
            return literal
        return _Text(text, (*pieces, literal) if literal else tuple(pieces))

    def _placeholder(self, text: str, start: int, end: int, path: Path) -> _Placeholder | None:
        inside = text[start:end].strip(_BLANKS)
        offset = text.index(inside, start)
        try:
            expression = Expression.parse(inside)
        except ExpressionError as error:
            error.expression, error.offset = text, error.offset + offset
            self.problems.append((path, error))
            return None
        self.expressions.append(expression)
        return _Placeholder(expression, offset)
