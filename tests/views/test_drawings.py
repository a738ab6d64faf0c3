"""Workflows as pictures: what every drawing shows, and that no text of a document gets out of its place."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, strategies as st

from statemachine_flow.errors import UsageError
from statemachine_flow.model import Definition, Step
from statemachine_flow.views.data import graph_data
from statemachine_flow.views.dot import dot
from statemachine_flow.views.drawing import FORMS, draw
from statemachine_flow.views.layout import Placed, place
from statemachine_flow.views.mermaid import mermaid
from statemachine_flow.views.paths import progress
from statemachine_flow.views.picture import picture_of
from statemachine_flow.views.svg import svg
from statemachine_flow.views.tree import ASCII, UNICODE, Strokes, strokes_for, tree
from tests.views.workflows import CI, GATE, REVIEW, call, graphs, run, workflow

#: Texts that mean something to a terminal, to XML, to Mermaid and to Graphviz.
NASTY = ['"];', "</text><script>", "]]>&amp;", "\x1b[2J", "\ufffe", "\n::", '\\"', "`${x}`", "-->"]
STATES = {
    "diff": "completed",
    "review": "waiting",
    **{f"review[{n}]": "completed" if n < 12 else "running" for n in range(20)},
    "ci": "waiting",
    "ci/build": "failed",
    "ci/e2e[linux,3.11]": "running",
    "@finally/clean": "completed",
}


def texts(image: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(image).iter("{http://www.w3.org/2000/svg}text")]


# --- trees


@given(graphs(), st.sampled_from([ASCII, UNICODE]))
def test_a_tree_shows_each_step_once_and_below_all_its_needs(definition: Definition, strokes: Strokes) -> None:
    lines = tree(picture_of(definition), strokes).splitlines()
    order = [match[0] for line in lines if (match := re.search(r"s\d+", line))]

    assert sorted(order) == sorted(step.id for step in definition.steps)
    for step, line in ((definition.step(step_id), line) for step_id, line in zip(order, lines, strict=True)):
        if len(step.needs) > 1:
            assert line.endswith(f"after {', '.join(step.needs)}")
        elif step.needs:
            assert order.index(step.needs[0]) < order.index(step.id)


def test_a_tree_tells_what_is_special_about_a_step() -> None:
    steps = (call("a"), call("b", "a", optional=True, when="inputs.x == '\x1b'"))

    drawn = tree(picture_of(workflow(*steps), {"a": "completed", "b": "skipped"}), ASCII)
    assert drawn == "a (call) completed\n> b (call) skipped optional when inputs.x == '\\x1b'"


def test_a_tree_shows_groups_loops_joins_and_handlers() -> None:
    assert tree(picture_of(REVIEW), ASCII).splitlines() == [
        "diff (run)",
        "|- scan (workflow)",
        "|- review (agent) x file of ${{ steps.diff.outputs.files }}",
        "|  > write (steps) repeat until result.ok, 5 rounds at most",
        "|  : * draft (agent) -> judge",
        "|  :   judge (agent) result == 'good' -> end, default -> draft",
        "|  > approve (approval) after scan, ci, write [none_failed] when inputs.n > 2 reject -> review",
        "|  > settle (wait) for signal 'ci.done'",
        "|  > merge (call)",
        "|  : undo merge (call)",
        "`- ci (steps)",
        "   : build (run)",
        "   : > e2e (run) x os, py",
        "   : > report (call) [all_done]",
        "",
        "on_failure:",
        "  notify (call)",
        "",
        "finally:",
        "  clean (call)",
        "  > log (call)",
    ]


def test_a_tree_of_states_goes_along_the_routes() -> None:
    assert tree(picture_of(GATE), ASCII).splitlines()[:3] == [
        "* plan (agent) -> gate",
        "  gate (approval) approve -> build, edit -> plan, reject -> end",
        "  build (steps) result.build.exit_code == 0 -> end, default -> build",
    ]


@pytest.mark.parametrize(
    ("encoding", "strokes"), [("utf-8", UNICODE), ("ascii", ASCII), ("latin-1", ASCII), (None, ASCII), ("no", ASCII)]
)
def test_strokes_are_those_that_a_stream_can_show(encoding: str | None, strokes: Strokes) -> None:
    assert strokes_for(encoding) is strokes


# --- states


def test_states_of_items_are_counted_and_nested_ones_found() -> None:
    nodes = {node["id"]: node for node in graph_data(picture_of(REVIEW, STATES))["nodes"]}

    assert nodes["review"]["items"] == {"done": 12, "total": 20}
    assert [nodes[path]["state"] for path in ("diff", "review", "ci/build", "ci/e2e", "write", "write/draft")] == [
        "completed",
        "waiting",
        "failed",
        "running",
        "pending",
        "pending",
    ]
    assert nodes["@finally/clean"]["state"] == "completed"
    assert nodes["@on_failure/notify"]["state"] is None


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        ({"a": "completed"}, "completed"),
        ({"a": "waiting", "a[1]": "failed", "a[2]": "running"}, "waiting 1/2"),
        ({"a[1]/b": "completed", "a[2]/b": "failed"}, "failed 2/2"),
        ({"a[1]/b": "completed", "a[2]/b": "pending"}, "pending 1/2"),
    ],
)
def test_the_loudest_state_stands_for_all(states: dict[str, str], shown: str) -> None:
    assert list(map(str, progress(states).values())) == [shown]


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_shows_states_and_counts(form: str) -> None:
    drawn = FORMS[form](picture_of(REVIEW, STATES))

    assert ("12/20" in drawn) or ('"total": 20' in drawn)
    assert "completed" in drawn


# --- all forms


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("definition", [REVIEW, GATE], ids=["graph", "states"])
def test_every_form_names_every_step(form: str, definition: Definition) -> None:
    drawn = FORMS[form](picture_of(definition))

    names = {node.step.id for _, node in picture_of(definition).nodes() if node.step is not None}
    assert {name for name in names if name not in drawn} == set()


def test_there_is_no_other_form() -> None:
    form: Any = "png"
    with pytest.raises(UsageError, match="svg"):
        draw(REVIEW, form)


def nasty(text: str) -> Definition:
    step = call("a", when=f"inputs.x == '{text}'", description=text)
    routed = Step(id="b", verb=CI, next={text: "end", "default": "b"})
    return workflow(step, Step(id="g", verb=type(CI)(steps=(routed,), start="b"), needs=("a",)))


@pytest.mark.parametrize("text", NASTY)
def test_texts_of_a_document_are_inert_in_every_form(text: str) -> None:
    picture = picture_of(nasty(text))
    plain = picture_of(nasty("x"))

    image = ET.fromstring(svg(picture))
    assert {element.tag.rpartition("}")[2] for element in image.iter()} == {
        element.tag.rpartition("}")[2] for element in ET.fromstring(svg(plain)).iter()
    }
    assert re.sub(r'"(?:[^"\\]|\\.)*"', "", dot(picture)) == re.sub(r'"(?:[^"\\]|\\.)*"', "", dot(plain))
    assert re.sub(r'"[^"\n]*"', "", mermaid(picture)) == re.sub(r'"[^"\n]*"', "", mermaid(plain))
    assert json.loads(FORMS["json"](picture))["nodes"][0]["when"] == f"inputs.x == '{text}'"
    assert "\x1b" not in tree(picture) + dot(picture) + mermaid(picture) + svg(picture)


# --- Mermaid, Graphviz


@given(graphs())
def test_mermaid_has_a_node_per_step_and_an_arrow_per_need(definition: Definition) -> None:
    lines = mermaid(picture_of(definition)).splitlines()

    assert sum('["' in line for line in lines) == len(definition.steps)
    assert sum(" --> " in line for line in lines) == sum(len(step.needs) for step in definition.steps)


def test_mermaid_opens_a_box_for_each_group_and_closes_it() -> None:
    lines = [line.strip() for line in mermaid(picture_of(REVIEW)).splitlines()]

    assert sum(line.startswith("subgraph ") for line in lines) == lines.count("end") == 4
    assert any(re.fullmatch(r's\d+\{\{"approve .*"\}\}', line) for line in lines)
    assert any(re.fullmatch(r's\d+ -\.->\|"reject"\| s\d+', line) for line in lines)


def test_graphviz_leads_arrows_to_the_edge_of_a_group() -> None:
    drawn = dot(picture_of(REVIEW))

    assert drawn.count("{") == drawn.replace("${{ steps.diff.outputs.files }}", "").count("}") + 2
    assert re.search(r"n0 -> (n\d+) \[lhead=cluster_\1\]", drawn)
    assert re.search(r"(n\d+) -> n\d+ \[ltail=cluster_\1\]", drawn)


# --- SVG


@given(graphs())
def test_boxes_of_an_image_do_not_overlap_and_lie_within_it(definition: Definition) -> None:
    check_boxes(place(picture_of(definition).steps))


@pytest.mark.parametrize("definition", [REVIEW, GATE], ids=["graph", "states"])
def test_boxes_of_nested_levels_lie_within_their_group(definition: Definition) -> None:
    for level in picture_of(definition).levels:
        check_boxes(place(level))


def check_boxes(placed: Placed) -> None:
    for box in placed.boxes:
        assert 0 <= box.x <= box.x + box.width <= placed.width + 0.2
        assert 0 <= box.y <= box.y + box.height <= placed.height + 0.2
        if box.inside is not None:
            assert box.inside.width < box.width
            assert box.inside.height < box.height
            check_boxes(box.inside)
    for one, other in combinations(placed.boxes, 2):
        beside = one.x + one.width <= other.x + 0.2 or other.x + other.width <= one.x + 0.2
        assert beside or one.y + one.height <= other.y + 0.2 or other.y + other.height <= one.y + 0.2


@given(graphs())
def test_lines_of_a_graph_lead_down(definition: Definition) -> None:
    placed = place(picture_of(definition).steps)

    heads = {(line.arrow.source, line.arrow.target) for line in placed.lines if line.has_head}
    assert all(line.points[0][1] < line.points[-1][1] for line in placed.lines)
    assert {target for _, target in heads} == {step.id for step in definition.steps if step.needs}


def test_an_image_needs_nothing_from_elsewhere() -> None:
    image = svg(picture_of(REVIEW, STATES))

    assert "script" not in image.replace("&lt;script&gt;", "").replace("&lt;/script&gt;", "")
    assert "href" not in image
    assert image.count("http") == 1  # the namespace
    assert "review (agent) waiting 12/20" in texts(image)


def test_an_image_of_a_wide_workflow_is_not_wider_than_it_has_to_be() -> None:
    wide = workflow(run("a"), *(run(f"s{n}", "a") for n in range(200)), run("z", *(f"s{n}" for n in range(200))))
    placed = place(picture_of(wide).steps)

    check_boxes(placed)
    assert placed.width < 5 * placed.height


def test_lines_of_an_image_grow_with_the_steps_and_not_with_their_square() -> None:
    def lines(count: int) -> int:
        steps = [run("s0"), *(run(f"s{n}", f"s{n - 1}", *(["s0"] if n > 1 else [])) for n in range(1, count))]
        return len(place(picture_of(workflow(*steps)).steps).lines)

    assert lines(2000) < 11 * lines(200)
