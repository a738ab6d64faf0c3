"""Ids of runs: made here, or chosen by the caller within one rule."""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import Final

from statemachine_flow.errors import UsageError

_LONGEST: Final = 100
_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def new_run_id() -> str:
    """A UUID of version 7 (RFC 9562): ids sort by the time they were made."""
    if hasattr(uuid, "uuid7"):  # Python 3.14
        return str(uuid.uuid7())
    import uuid_utils  # noqa: PLC0415 - installed only where Python lacks it

    return str(uuid_utils.uuid7())


def child_run_id(run_id: str, path: str, attempt: int) -> str:
    """The id of the run that an attempt of a step starts: the same whenever it is asked for.

    Example:
        >>> child_run_id("nightly", "security", 1), child_run_id("nightly", "scan[a b]", 2)
        ('nightly.security', 'nightly.scan-a-b-.2.11b7e4ce')
    """
    name = f"{run_id}.{path}" + (f".{attempt}" if attempt > 1 else "")
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", name)
    if plain == name and len(name) <= _LONGEST:
        return name
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{plain[: _LONGEST - 9]}.{digest}"


def check_run_id(text: str) -> str:
    """`text` itself if it may name a run.

    Raises:
        UsageError: it may not.

    Example:
        >>> check_run_id("nightly-2026-11-21")
        'nightly-2026-11-21'
    """
    if _RUN_ID.fullmatch(text) is None:
        raise UsageError(
            f"{text[:100]!r} cannot name a run",
            hint="use up to 100 letters, digits, '.', '_' or '-', a letter or digit first",
        )
    return text
