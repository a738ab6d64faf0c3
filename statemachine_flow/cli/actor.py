"""Who gives a command, for the journal."""

from __future__ import annotations

import getpass


def user() -> str:
    """The user of this process, as far as the system knows one, else `smf`: who decides an approval."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, as in many containers
        return "smf"
    return name.encode("utf-8", "backslashreplace").decode()


def actor() -> str:
    """Who commands the engine: `user`, and that it was by the command line."""
    name = user()
    return name if name == "smf" else f"smf:{name}"
