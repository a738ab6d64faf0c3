"""What the drawings with colours share: fills of states, and the lines of a box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from statemachine_flow.views.picture import Level, Node

#: A state -> what its box is filled with, light enough for dark text; other states have none.
FILLS: Final[Mapping[str, str]] = {
    "completed": "#c8e6c9",
    "failed": "#ffcdd2",
    "cancelled": "#ffcdd2",
    "running": "#bbdefb",
    "waiting": "#fff9c4",
    "backing_off": "#fff9c4",
    "interrupted": "#fff9c4",
}
#: What is filled for no state.
PLAIN: Final = "#f6f8fa"
#: Around groups.
GROUND: Final = "#ffffff"
TEXT: Final = "#1f2328"
LINE: Final = "#57606a"
#: What happens only on a special occasion is drawn with such dashes.
DASHES: Final = "5 4"


def title(node: Node) -> str:
    """The first line of a box: the step, its verb, and its state in a run.

    Example:
        >>> title(Node(path="a", name="a", kind="call"))
        'a (call)'
    """
    text = f"{node.name} ({node.kind})"
    return text if node.progress is None else f"{text} {node.progress}"


def fill(node: Node) -> str | None:
    """What the box is filled with for its state."""
    return None if node.progress is None else FILLS.get(node.progress.state)


def is_dashed(level: Level, node: Node) -> bool:
    """Whether a box stands for something that is done on a special occasion only."""
    return node.is_undo or level.path.startswith("@")
