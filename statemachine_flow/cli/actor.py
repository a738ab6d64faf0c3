"""Who gives a command, for the journal."""

from __future__ import annotations

import getpass


def actor() -> str:
    """The user of this process, as far as the system knows one."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, as in many containers
        return "smf"
    return f"smf:{name.encode('utf-8', 'backslashreplace').decode()}"
