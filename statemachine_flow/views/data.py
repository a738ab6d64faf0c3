"""A picture as plain data: the same keys always, null where there is nothing to say."""

from __future__ import annotations

from typing import Any

from statemachine_flow.views.picture import Arrow, Level, Node, Picture


def graph_data(picture: Picture) -> dict[str, Any]:
    """Nodes and edges; a node's `id` is its path, and `in` the path of the step around it.

    Example:
        >>> from statemachine_flow.model import Definition, Step
        >>> from statemachine_flow.steps.call import Call
        >>> from statemachine_flow.views.picture import picture_of
        >>> data = graph_data(picture_of(Definition(name="one", steps=(Step(id="a", verb=Call(call="f")),))))
        >>> data["nodes"][0]["id"], data["nodes"][0]["verb"], data["edges"]
        ('a', 'call', [])
    """
    levels: dict[int, Level] = {}
    nodes = []
    for level, node in picture.nodes():
        levels[id(level)] = level
        nodes.append(_node(level, node))
    return {
        "workflow": picture.name,
        "nodes": nodes,
        "edges": [_edge(arrow) for level in levels.values() for arrow in level.arrows],
    }


def _node(level: Level, node: Node) -> dict[str, Any]:
    step, items = node.step, None if node.progress is None else node.progress.items
    return {
        "id": node.path,
        "in": level.path or None,
        "level": level.shape,
        "verb": node.kind,
        "optional": False if step is None else step.optional,
        "when": None if step is None else step.when,
        "trigger_rule": None if step is None else step.trigger_rule,
        "marks": list(node.marks),
        "handler": node.is_handler,
        "state": None if node.progress is None else node.progress.state,
        "items": None if items is None else {"done": items[0], "total": items[1]},
    }


def _edge(arrow: Arrow) -> dict[str, Any]:
    return {"from": arrow.source, "to": arrow.target, "kind": arrow.kind, "label": arrow.label or None}
