"""The canonical layout, and documents in another format: the same meaning, every comment where it belongs."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings, strategies as st

from statemachine_flow.compiler import load_document, read_text, write
from statemachine_flow.compiler.source import Format, Source
from statemachine_flow.editing.comments import collect
from statemachine_flow.editing.layout import lay_out
from statemachine_flow.editing.spans import scan
from statemachine_flow.errors import DefinitionError, UsageError

VALID = Path(__file__).resolve().parents[2] / "dsl" / "conformance" / "v1" / "valid"
CASES = [path for path in sorted(VALID.rglob("*")) if path.suffix[1:] in get_args(Format) and ".plan." not in path.name]
#: Those that injected comments are put into; the others are long.
SHORT = [path for path in CASES if path.suffix != ".json" and path.stat().st_size < 10_000]


def source_of(text: str | bytes, syntax: Format) -> Source:
    return read_text(text, format=syntax)[1]


def syntax_of(path: Path) -> Format:
    syntax: Format = path.suffix[1:]  # type: ignore[assignment]  # the cases have no other
    return syntax


def has_null(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(has_null, value.values() if isinstance(value, dict) else value))
    return value is None


MESSY_TOML = """\
# Licence.

# The name comes first here.
name = 'messy'  # end of name
dsl = '1'
steps.a.run = [ 'x',
  # in the list
  'y' ] # end of list
steps.a.description = "one\\ntwo\\n"

# about inputs
[inputs]
who={type="string",   default='you'} # who

# about b


[steps.b]
call = "f"
needs = [ "a" ]
# when = "true"

# about with
[steps.b.with]
z = 1 # one
# the end
"""

NEAT_TOML = """\
# Licence.

dsl = "1"
# The name comes first here.
name = "messy"  # end of name

# about inputs
[inputs]
who = {type = "string", default = "you"}  # who

[steps.a]
description = \"\"\"
one
two
\"\"\"
run = [
    "x",
    # in the list
    "y",
]  # end of list

# about b

[steps.b]
needs = ["a"]
call = "f"
# when = "true"

# about with
[steps.b.with]
z = 1  # one
# the end
"""

MESSY_YAML = """\
# Licence.

# The name comes first here.
name:   'messy'  # end of name
dsl: '1'
steps:   # all of them
    a:
        run: [ 'x',
          # in the list
          'y' ] # end of list
        description: "one\\ntwo\\n"
    # about b
    b:

        call: "f"
        needs:
        - a  # the first
        # when: "true"
    # the last step
# about inputs
inputs: {who: {type: string,   default: you}} # who
# the end
"""

NEAT_YAML = """\
# Licence.

dsl: "1"
# The name comes first here.
name: messy  # end of name

# about inputs
inputs:  # who
  who:
    type: string
    default: you

steps:  # all of them
  a:
    description: |
      one
      two
    run:  # end of list
      - x
      # in the list
      - "y"

  # about b
  b:
    needs:
      - a  # the first
    call: f
    # when: "true"
  # the last step

# the end
"""


@pytest.mark.parametrize(
    ("syntax", "messy", "neat"), [("toml", MESSY_TOML, NEAT_TOML), ("yaml", MESSY_YAML, NEAT_YAML)]
)
def test_the_layout(syntax: Format, messy: str, neat: str) -> None:
    assert lay_out(source_of(messy, syntax)).text == neat
    assert lay_out(source_of(neat, syntax)).text == neat
    assert lay_out(source_of(messy.replace("\n", "\r\n"), syntax)).text == neat


def test_listed_steps_become_steps_by_id_with_their_comments() -> None:
    text = (
        "dsl: '1'\nname: l\nsteps:\n  # one\n  - id: a  # two\n    run: x # three\n"
        "  - run: y\n    id: b\n    needs: [a]\n"
    )

    assert lay_out(source_of(text, "yaml")).text == (
        'dsl: "1"\nname: l\n\nsteps:\n  # one\n  a:  # two\n    run: x  # three\n\n  b:\n    needs: [a]\n    run: "y"\n'
    )


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
@pytest.mark.parametrize("to", get_args(Format))
def test_every_valid_document_can_be_laid_out_in_every_format(path: Path, to: Format) -> None:
    source = source_of(path.read_bytes(), syntax_of(path))
    if to == "toml" and has_null(read_text(path.read_bytes(), format=source.format)[0]):
        with pytest.raises(UsageError, match="TOML has no null"):
            lay_out(source, to)
        return
    made = lay_out(source, to)

    definition = load_document(path).definition
    again = load_document(made.text.encode()).definition
    assert again.content_hash == definition.content_hash == made.content_hash
    assert [step.id for step in again.steps] == [step.id for step in definition.steps]
    assert lay_out(source_of(made.text, to)).text == made.text


@pytest.mark.parametrize("path", [path for path in CASES if path.suffix == ".json"], ids=lambda path: path.stem)
def test_what_the_library_writes_itself_is_in_the_layout(path: Path) -> None:
    definition = load_document(path).definition
    for syntax in get_args(Format):
        try:
            text = getattr(write, f"to_{syntax}")(definition)
        except UsageError:
            continue  # a null
        assert lay_out(source_of(text, syntax)).text == text


def with_comments(text: str, syntax: Format, rng: random.Random) -> str:
    """The text with comments between and behind its lines, wherever one may stand."""
    scalars = [
        (node.start, node.end)
        for _, node in scan(text, syntax).root.walk()
        if "\n" in text[node.start : node.end].rstrip() and node.kind == "scalar"
    ]
    lines: list[str] = []
    offset = 0
    for line in text.split("\n"):
        end = offset + len(line)
        indent = " " * rng.choice([0, 2, 4, len(line) - len(line.lstrip())])
        if not any(start < offset <= stop for start, stop in scalars) and rng.random() < 0.3:
            lines += [f"{indent}# line {len(lines)}", *[""] * rng.choice([0, 0, 1, 2])]
        behind = line.strip() and not any(start <= end < stop for start, stop in scalars) and rng.random() < 0.3
        lines.append(f"{line}  # end {len(lines)}" if behind else line)
        offset = end + 1
    return "\n".join(lines)


def comments_in(text: str) -> list[str]:
    return sorted(re.findall(r"# (?:line|end) [0-9]+$", text, re.MULTILINE))


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(SHORT), st.integers(0, 10**6))
def test_no_comment_is_lost_wherever_it_stands(path: Path, seed: int) -> None:
    syntax = syntax_of(path)
    data, plain = read_text(path.read_bytes(), format=syntax)
    text = with_comments(plain.text.replace("\r\n", "\n"), syntax, random.Random(seed))
    try:
        commented, source = read_text(text, format=syntax)
    except DefinitionError:
        return  # a comment stands where none may
    if commented != data:
        return
    for to in ("toml", "yaml"):
        try:
            made = lay_out(source, to).text
        except UsageError:
            continue  # a null
        assert comments_in(made) == comments_in(text)
        assert lay_out(source_of(made, to)).text == made
    json = lay_out(source, "json")
    assert json.lost_comments == collect(text, syntax).count


@pytest.mark.parametrize(("syntax", "neat", "other"), [("toml", NEAT_TOML, "yaml"), ("yaml", NEAT_YAML, "toml")])
def test_there_and_back_keeps_the_tree_and_the_comments_at_their_values(
    syntax: Format, neat: str, other: Format
) -> None:
    there = lay_out(source_of(neat, syntax), other).text
    back = lay_out(source_of(there, other), syntax).text

    assert read_text(back, format=syntax)[0] == read_text(neat, format=syntax)[0]
    before, after = collect(neat, syntax), collect(back, syntax)
    assert after.end == before.end
    assert {path: [line for line in lines if line] for path, lines in after.above.items()} == {
        path: [line for line in lines if line] for path, lines in before.above.items()
    }


def test_a_null_has_no_place_in_toml() -> None:
    text = '{"dsl": "1", "name": "n", "steps": {"a": {"call": "f", "with": {"x": [1, null]}}}}'

    with pytest.raises(UsageError, match=r"TOML has no null, and one stands at steps\.a\.with\.x\[1\]"):
        lay_out(source_of(text, "json"), "toml")
    assert "x: [1, null]" in lay_out(source_of(text, "json"), "yaml").text


def test_an_invalid_document_is_not_laid_out() -> None:
    with pytest.raises(DefinitionError, match="nothing"):
        lay_out(source_of("dsl: '1'\nname: n\nsteps: {a: {run: x, needs: [nothing]}}\n", "yaml"))
