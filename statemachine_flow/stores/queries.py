"""The statements of `sql/queries.sql` by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from statemachine_flow.stores.base import COLUMNS

#: Columns that `advance_run` sets, in the order of its arguments.
_ADVANCED: Final = {"seq": "?1", "updated_at": "?2", "steps_done": "?3"}


def _load() -> dict[str, str]:
    text = files("statemachine_flow.stores").joinpath("sql/queries.sql").read_text(encoding="utf-8")
    text = text.replace("{{columns}}", ", ".join(COLUMNS))
    text = text.replace("{{advanced}}", ", ".join(_ADVANCED.get(column, column) for column in COLUMNS))
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)[1:]
    return {
        name: re.sub(r"^--.*$", "", body, flags=re.MULTILINE).strip()
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


SQL: Final[Mapping[str, str]] = _load()
