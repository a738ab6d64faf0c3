"""The functions that `deployment.toml` calls. The server is a folder: what runs there, and a log of what was done.

Everything that happens there is a line in `log.txt`, with the attempt that did it; that is how an attempt which was
cut off can be found again.
"""

from __future__ import annotations

from pathlib import Path

from statemachine_flow import StepContext


class NotHealthyError(Exception):
    """The new version does not work."""


def migrate(server: str, version: str, context: StepContext) -> dict[str, str]:
    """Change the data; doing this twice would do harm."""
    _log(server, context, f"migrated to {version}")
    return {"version": version}


def was_migrated(server: str, version: str, context: StepContext) -> dict[str, object] | str:
    """Say whether an attempt of `migrate` that was cut off took effect."""
    if f"{_name(context)}: migrated to {version}" in log(server):
        return {"as": "completed", "output": {"version": version}}
    return "retry"


def migrate_back(server: str, version: str, context: StepContext) -> None:
    """Undo `migrate`."""
    _log(server, context, f"migrated back from {version}")


def switch(server: str, version: str, context: StepContext) -> dict[str, str]:
    """Make a version the current one; return which it was before."""
    current = Path(server, "current.txt")
    before = current.read_text(encoding="utf-8") if current.exists() else "nothing"
    if before == version:  # perhaps through an attempt of this very step that was cut off
        for line in log(server):
            if line.startswith(f"{context.idempotency_key} "):
                before = line.partition(" switched from ")[2].removesuffix(f" to {version}")
    _log(server, context, f"switched from {before} to {version}")
    current.write_text(version, encoding="utf-8")
    return {"before": before}


def check(server: str, version: str, *, healthy: bool) -> None:
    """Look whether the new version works.

    Raises:
        NotHealthyError: it does not, or is not the current one.
    """
    if not healthy or Path(server, "current.txt").read_text(encoding="utf-8") != version:
        raise NotHealthyError(f"{version} does not answer")


def tell(server: str, text: str, context: StepContext) -> None:
    """Let people know."""
    _log(server, context, text)


def log(server: str) -> list[str]:
    """What was done on the server, one line each."""
    path = Path(server, "log.txt")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _log(server: str, context: StepContext, text: str) -> None:
    with Path(server, "log.txt").open("a", encoding="utf-8") as file:
        file.write(f"{_name(context)}: {text}\n")


def _name(context: StepContext) -> str:
    return f"{context.idempotency_key} attempt {context.attempt}"
