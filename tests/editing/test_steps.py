"""Steps that are added, renamed and removed, with everything that names or reads them."""

from __future__ import annotations

from typing import Any

import pytest

from statemachine_flow.compiler import load_document
from statemachine_flow.editing import Document
from statemachine_flow.errors import UsageError

NESTED = """\
dsl: "1"
name: nested
steps:
  {a}: {{run: "echo a"}}   # not steps.a
  ci:
    needs: [{a}]  # after a
    steps:
      lint: {{run: "echo ${{{{ steps.{a}.output.stdout }}}} steps.a"}}
      test:
        needs: [lint]
        when: steps.{a}.output.stdout == "steps.a.output" and steps["{a}"].state == 'a' and 1 < 2
        run: [a, "$${{{{ steps.a.output }}}}", "${{{{ steps [ '{a}' ].output }}}}${{{{steps . {a} . state}}}}"]
        compensate: {{run: "undo ${{{{ steps.{a}.output.stdout }}}}"}}
      steps-a: {{run: "true"}}
  gate:
    needs: [ci, '{a}']
    approval: {{prompt: "steps.a: ${{{{ steps.{a}.output }}}}", on_reject: {{rewind_to: {a}}}}}
  child:
    needs: ["{a}"]
    workflow:
      name: inner
      steps:
        a: {{run: "true"}}
        b: {{needs: [a], run: "echo ${{{{ steps.a.output.stdout }}}}"}}
    with: {{x: "${{{{ steps.{a}.output.stdout }}}}"}}
on_failure:
  tell: {{call: f, with: {{a: "${{{{ steps.{a}.state }}}}"}}}}
outputs:
  a: "${{{{ steps.{a}.output.stdout }}}}"
"""

STATES = """\
dsl = "1"
name = "states"
start = "{a}"

[steps.{a}]
run = "true"
outputs = {{ code = "exit_code" }}
next = {{ 0 = "b", 1 = "{a}", 2 = "a2", default = "end" }}

[steps.b]
run = "true"
next = [{{ when = "steps.{a}.output.exit_code == 0 and result.stdout != 'a'", goto = "{a}" }}, {{ default = "{a}" }}]

[steps.a2]
run = "true"
next = "{a}"
"""


@pytest.mark.parametrize("text", [NESTED, STATES])
@pytest.mark.parametrize("new", ["x", "steps", "a1", "true"])
def test_renaming_gives_the_text_that_was_written_with_the_new_name(text: str, new: str) -> None:
    document = Document(text.format(a="a"))
    document.rename_step("a", new)
    expected = text.format(a=new)
    if new == "true" and text is NESTED:  # a key and list items that need quotes
        assert (
            document.data
            == Document(expected.replace("[true]", '["true"]').replace("rewind_to: true", 'rewind_to: "true"')).data
        )
    else:
        assert document.text == expected


def test_a_name_that_cannot_follow_a_dot_stands_in_brackets() -> None:
    document = Document(NESTED.format(a="a"))
    document.rename_step("a", "a-b")

    assert document.problems() == ()
    for part in (
        '  a-b: {run: "echo a"}   # not steps.a\n',
        "\"echo ${{ steps['a-b'].output.stdout }} steps.a\"",
        'when: steps["a-b"].output.stdout == "steps.a.output" and steps["a-b"].state == \'a\' and 1 < 2',
        "needs: [ci, 'a-b']",
    ):
        assert part in document.text


def test_a_renamed_workflow_is_the_one_that_was_written_so() -> None:
    for text, form in ((NESTED, "yaml"), (STATES, "toml")):
        document = Document(text.format(a="a"), format=form)  # type: ignore[arg-type]
        document.rename_step("a", "other")
        renamed = load_document(document.text).definition
        written = load_document(text.format(a="other")).definition
        assert renamed.content_hash == written.content_hash


GROUP = """\
dsl: "1"
name: g
steps:
  ci:
    steps:
      {lint}: {{run: "true"}}
      inner:
        needs: [{lint}]
        steps:
          deep: {{run: "echo ${{{{ steps.{lint}.output.stdout }}}}"}}
    outputs: {{a: result.{lint}.stdout, b: result.inner.deep, c: other.{other}}}
  plain:
    steps:
      lint: {{run: "true"}}
  end2:
    needs: [ci, plain]
    when: steps.ci.output.{lint}.stdout == steps.plain.output.lint.stdout
    call: f
outputs:
  x: "${{{{ steps.ci.output.{lint}.stdout }}}} ${{{{ steps.plain.outputs.lint }}}}"
"""


def test_a_step_of_a_group_is_followed_into_its_outputs_and_out_of_the_group() -> None:
    document = Document(GROUP.format(lint="lint", other="lint"))
    document.rename_step("ci/lint", "check")

    assert document.text == GROUP.format(lint="check", other="lint")


def test_renaming_refuses_a_taken_name_and_an_unknown_step() -> None:
    document = Document(NESTED.format(a="a"))

    with pytest.raises(UsageError, match="'ci' already"):
        document.rename_step("a", "ci")
    for unknown in ("b", "ci/a", "@finally/a", "@on_failure/a", "a/b"):
        with pytest.raises(UsageError, match="no step"):
            document.rename_step(unknown, "x")
    document.rename_step("a", "a")
    document.rename_step("@on_failure/tell", "shout")
    assert document.text == NESTED.format(a="a").replace("tell:", "shout:")


CHAIN = """\
dsl: "1"
name: chain
steps:
  - id: a   # one
    run: "true"
  # two
  - run: "true"
    id: b
    needs: [a]
  - id: c
    needs:
      - b  # why
    run: "true"
"""


def test_listed_steps_are_renamed_added_and_removed_by_their_ids() -> None:
    document = Document(CHAIN)
    document.rename_step("a", "first")
    document.add_step("mid", {"run": "true"}, after="first")
    document.add_step("last", {"needs": ["c"], "run": "true"})
    document.remove_step("b", rewire=True)

    assert (
        document.text
        == """\
dsl: "1"
name: chain
steps:
  - id: first   # one
    run: "true"
  - id: mid
    run: "true"
  - id: c
    needs:
      - first  # why
    run: "true"
  - id: last
    needs: [c]
    run: "true"
"""
    )


TABLES = """\
dsl = "1"
name = "tables"

[steps.a]
run = "true"

# about b
[steps.b]
needs = ["a"]  # b
run = "true"
# foot of b

[steps.c]
needs = ["a", "b"]
run = "true"
"""


def test_removing_refuses_while_others_need_the_step() -> None:
    document = Document(TABLES)

    with pytest.raises(UsageError, match=r"named by steps.c.needs\[1\]; rewire=True"):
        document.remove_step("b")
    assert document.text == TABLES
    document.remove_step("b", rewire=True)
    assert document.text == TABLES.replace(
        '# about b\n[steps.b]\nneeds = ["a"]  # b\nrun = "true"\n# foot of b\n\n', ""
    ).replace('["a", "b"]', '["a"]')
    document.remove_step("a", rewire=True)
    assert document.text == 'dsl = "1"\nname = "tables"\n\n[steps.c]\nrun = "true"\n'


@pytest.mark.parametrize("rewire", [False, True])
def test_removing_refuses_while_a_text_reads_the_step(rewire: bool) -> None:
    document = Document(NESTED.format(a="a"))

    with pytest.raises(UsageError, match="read by"):
        document.remove_step("a", rewire=rewire)


def test_routes_lead_past_a_removed_state() -> None:
    document = Document(STATES.format(a="a"))
    document.remove_step("a2", rewire=True)
    assert document["steps"]["a"]["next"]["2"] == "a"
    with pytest.raises(UsageError, match="several ways"):
        Document(STATES.format(a="a").replace("steps.a.output.exit_code", "1")).remove_step("a", rewire=True)
    document["steps"]["b"]["next"] = "end"
    document["steps"]["a"]["next"]["1"] = "b"
    document.remove_step("b", rewire=True)

    assert document["steps"]["a"]["next"] == {"0": "end", "1": "end", "2": "a", "default": "end"}
    assert document.problems() == ()


DOTTED = 'dsl = "1"\nname = "dotted"\nsteps.a.run = "true"  # a\nsteps.b.run = "true"\nsteps.c.run = "true"\n'
INLINE = (
    'dsl = "1"\nname = "inline"\n\n[steps]\na = { run = "true" }  # a\nb = { run = "true" }\nc = { run = "true" }\n'
)

ADDING: list[tuple[str, dict[str, Any]]] = [
    ("d", {"run": "true"}),
    ("d", {"steps": {"x": {"run": "true"}, "y": {"needs": ["x"], "run": "a\nb"}}}),
]


@pytest.mark.parametrize(("step", "fields"), ADDING)
@pytest.mark.parametrize("after", [None, "a", "b", "c"])
@pytest.mark.parametrize("text", [TABLES, CHAIN, DOTTED, INLINE])
def test_a_step_is_added_where_it_is_wanted(step: str, fields: dict[str, Any], after: str | None, text: str) -> None:
    document = Document(text)
    document.add_step(step, fields, after=after)

    ids = [one.id for one in load_document(document.text).definition.steps]
    expected = ["a", "b", "c"]
    expected.insert(3 if after is None else expected.index(after) + 1, "d")
    assert ids == expected
    assert all(line in document.text.splitlines() for line in text.splitlines())


def test_handlers_and_steps_of_groups_are_added_by_their_paths() -> None:
    document = Document(GROUP.format(lint="lint", other="lint").replace("other.lint", "result.inner"))
    document.add_step("ci/more", {"run": "true"})
    document.add_step("@finally/clean", {"run": "true"})

    assert [step.id for step in load_document(document.text).definition.finally_] == ["clean"]
    assert list(document["steps"]["ci"]["steps"]) == ["lint", "inner", "more"]
    with pytest.raises(UsageError, match="already"):
        document.add_step("ci/more", {"run": "true"})
    with pytest.raises(UsageError, match="come behind"):
        document.add_step("x", {"run": "true"}, after="nothing")
