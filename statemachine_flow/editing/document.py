"""`Document`: a workflow's text that is changed in place, with every comment and every untouched line kept."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self, final

import attrs

from statemachine_flow.compiler import check, read_text, structure
from statemachine_flow.compiler.built import take_built
from statemachine_flow.compiler.source import Format, Path, Source, quoted
from statemachine_flow.editing import edits, steps
from statemachine_flow.editing.files import File, Form
from statemachine_flow.editing.layout import checked
from statemachine_flow.editing.paths import expected_place, parts_of, shown
from statemachine_flow.editing.views import View, plain
from statemachine_flow.errors import Problem, UsageError


@final
class Document(View):
    r'''A document whose text is changed: a mapping that writes through.

    Everything that a change does not concern stays as it is, to the byte: comments, blank lines, quotes, the order of
    keys, a byte order mark and the line ends. What is changed is written in the manner of what stands around it.

    Args:
        text: the document.
        format: by default told from its first line.

    Raises:
        DefinitionError: the text is not valid TOML, YAML or JSON. Whether it is a valid workflow is asked later.

    Example:
        >>> document = Document("""dsl = "1"
        ... name = "ci"
        ... [steps.build]
        ... run = "make"      # all of it
        ... [steps.test]
        ... needs = ["build"]
        ... run = "make test"
        ... """)
        >>> document["steps"]["build"]["timeout"] = "10m"
        >>> document.rename_step("build", "compile")
        >>> print(document.text, end="")
        dsl = "1"
        name = "ci"
        [steps.compile]
        run = "make"      # all of it
        timeout = "10m"
        [steps.test]
        needs = ["compile"]
        run = "make test"
    '''

    def __init__(self, text: str, *, format: Format | None = None) -> None:  # noqa: A002 - the word callers expect
        super().__init__(self, ())
        self._file: File | None = None
        self._form = Form.of(text.encode(errors="surrogatepass"))
        self._data, source = read_text(text, format=format)
        self._begin(source)

    def _begin(self, source: Source) -> None:
        self._source = source
        #: With line feeds alone, whatever ends the lines of the file.
        self._content = source.text.replace("\r\n", "\n") if self._form.has_crlf else source.text

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Document:
        """Read a file; see `edit`."""
        file = File.read(path)
        document = cls(file.text, format=file.source.format)
        document._file, document._form, document._source = file, file.form, file.source
        return document

    # --- what is there

    @property
    def format(self) -> Format:
        """`"toml"`, `"yaml"` or `"json"`."""
        return self._source.format

    @property
    def text(self) -> str:
        """The text as it is now, with the line ends of the file."""
        return self._form.ended(self._content)

    @property
    def data(self) -> dict[str, Any]:
        """A copy of everything as plain data."""
        copy: dict[str, Any] = plain(self._data)
        return copy

    @property
    def is_changed(self) -> bool:
        """Whether the text is another one than when it was read or saved."""
        return self.text != self._source.text

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the workflow as it is now, warnings included; their positions are those of `text`."""
        source = self._now()
        definition, problems = structure(self._data, source)
        if definition is not None:
            problems += check(definition, source)
        return tuple(
            sorted(problems, key=lambda one: (one.position.line, one.position.column) if one.position else (0, 0))
        )

    def __repr__(self) -> str:
        state = "changed" if self.is_changed else "unchanged"
        return f"<Document {quoted(self._source.name)}, {state}>"

    # --- changes

    def set(self, path: str | Path, value: Any, *, after: str | int | None = None) -> None:
        """Set a value.

        Args:
            path: `"steps.build.timeout"`, or the parts; all of it but the last is there.
            value: plain data; durations are text.
            after: the key a new one comes behind; by default the place where readers expect it.

        Raises:
            KeyError: something on the way is not there.
            UsageError: the value is no plain data, or cannot be written there.
        """
        self.write(parts_of(path), value, after)

    def delete(self, path: str | Path) -> None:
        """Take a value out, with its key, the comments right above it and the one behind it.

        Raises:
            KeyError: it is not there.
        """
        parts = parts_of(path)
        if not parts or steps.at(self._data, parts[:-1]) is None:
            raise KeyError(path)
        _ = self.read(parts)
        self.erase(parts)

    def add_step(self, step_id: str, step: dict[str, Any], *, after: str | None = None) -> None:
        """Add a step.

        Args:
            step_id: its id; `group/id` for a step in a group, `@finally/id` for a handler.
            step: its fields.
            after: the id of the step it comes behind; by default it is the last one of its level.

        Raises:
            UsageError: there is such a step already, or no such level.

        Example:
            >>> document = Document('{"dsl": "1", "name": "a", "steps": {"one": {"run": "true"}}}')
            >>> document.add_step("two", {"needs": ["one"], "run": "true"})
            >>> list(document["steps"])
            ['one', 'two']
        """
        group, _, name = step_id.rpartition("/")
        level = self._level(group)
        held = steps.at(self._data, level)
        known = {one: key for key, one in steps.entries(held)}
        if name in known:
            raise UsageError(f"the document has a step '{step_id}' already")
        if after is not None and after not in known:
            raise UsageError(f"there is no step '{after}' for '{step_id}' to come behind")
        if isinstance(held, list):
            behind = len(held) - 1 if after is None else int(known[after])
            self.write((*level, behind + 1), {"id": name, **step}, None if after is None else behind)
        elif held is None:
            self.write(level, {name: step})
        else:
            self.write((*level, name), step, after)

    def rename_step(self, old: str, new: str) -> None:
        """Give a step another id, everywhere.

        `needs`, routes, `start`, `rewind_to` and every expression and placeholder that reads the step follow, in its
        level and in those that see it; words that only look like it do not.

        Args:
            old: the step; in a group `group/step`, among handlers `@on_failure/step` or `@finally/step`.
            new: the id alone.

        Raises:
            UsageError: there is no such step, or the new id is taken.
        """
        place = steps.find(self._data, old)
        if new == place.id:
            return
        if new in {one for _, one in steps.entries(steps.at(self._data, place.level))}:
            raise UsageError(f"there is a step '{new}' already")
        text, changes = self._content, steps.rewordings(self._data, place, new)
        if changes:
            text = edits.reword(text, self.format, changes)
        if isinstance(place.path[-1], int):
            text = edits.put(text, self.format, (*place.path, "id"), new)
        else:
            text = edits.rename(text, self.format, place.path, new)
        self._take(text)

    def remove_step(self, step: str, *, rewire: bool = False) -> None:
        """Take a step out.

        Args:
            step: as for `rename_step`.
            rewire: whether steps that need it shall need what it needs, and routes to it lead where it leads.

        Raises:
            UsageError: there is no such step; a text reads it; or, without `rewire`, a step needs it or leads to it.
        """
        place = steps.find(self._data, step)
        readers = [path for path, _, _ in steps.readers_of(self._data, place) if path[: len(place.path)] != place.path]
        if readers:
            raise UsageError(f"the step '{step}' is read by {shown(readers)}", hint="change what reads it first")
        names = [path for path in steps.names_of(self._data, place) if path[: len(place.path)] != place.path]
        if names and not rewire:
            hint = "rewire=True connects its neighbours"
            raise UsageError(f"the step '{step}' is named by {shown(names)}", hint=hint)
        text = self._content
        for path, value in steps.rewired(self._data, place, names):
            text = edits.drop(text, self.format, path) if value is None else edits.put(text, self.format, path, value)
        self._take(edits.drop(text, self.format, place.path))

    # --- the file

    def save(self, *, check: bool = True) -> None:
        """Write the text to the file it was read from, as a whole or not at all; a mark and the mode are kept.

        Args:
            check: whether to refuse a text that is no valid workflow.

        Raises:
            DefinitionError: it is none; the file is as it was.
            ConflictError: somebody else changed the file since it was read; it is as they left it.
            UsageError: the document was not read from a file, or the file cannot be written.
        """
        if self._file is None:
            raise UsageError("the document was made from text, and has no file to be saved to")
        if check:
            checked(self._data, self._now())
        if self.is_changed:
            self._file = self._file.replace(self._content)
            self._source = self._file.source

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.save()

    # --- what views ask for

    def read(self, path: Path) -> Any:
        """The plain data at a path, not to be changed."""
        data: Any = self._data
        for part in path:
            data = data[part]
        return data

    def write(self, path: Path, value: Any, after: str | int | None = None) -> None:
        """Set the value at a path; see `set`."""
        if not path:
            raise UsageError("the document as a whole cannot be set", hint="set its fields")
        parent = self.read(path[:-1])
        if not isinstance(parent, dict | list):
            raise UsageError(f"{quoted(str(path[-2]))} holds no other values")
        fitting = take_built({"value": plain(value)})["value"]
        if isinstance(parent, dict) and after is None and path[-1] not in parent:
            after = expected_place(parent, path)
        self._take(edits.put(self._content, self.format, path, fitting, after))

    def erase(self, path: Path) -> None:
        """Take out what stands at a path."""
        self._take(edits.drop(self._content, self.format, path))

    def _take(self, text: str) -> None:
        self._data = edits.data_of(text, self.format)
        self._content = text

    def _now(self) -> Source:
        _, source = read_text(self.text, format=self.format, name=self._source.name)
        return attrs.evolve(source, directory=self._source.directory)

    def _level(self, group: str) -> Path:
        if group in ("@on_failure", "@finally"):
            return (group[1:],)
        return (*steps.find(self._data, group).path, "steps") if group else ("steps",)


def edit(path: str | os.PathLike[str]) -> Document:
    r"""Change a workflow's file and keep its comments.

    Args:
        path: a file that ends in `.toml`, `.yaml`, `.yml` or `.json`.

    Returns:
        The document: a mapping whose changes are changes of the text. In a `with` block it is saved at the end,
        unless an error ended the block.

    Raises:
        DefinitionError: the file cannot be read, or its text is not valid TOML, YAML or JSON.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp(), "hi.toml")
        >>> _ = path.write_text("dsl = '1'\nname = 'hi'\n[steps.a]  # the only one\nrun = 'true'\n")
        >>> with edit(path) as document:
        ...     document["steps"]["a"]["timeout"] = "10m"
        >>> print(path.read_text(), end="")
        dsl = '1'
        name = 'hi'
        [steps.a]  # the only one
        run = 'true'
        timeout = "10m"
    """
    return Document.open(path)
