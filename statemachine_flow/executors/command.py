"""What a command is, what it may see of the environment, and what is known of it when it has ended.

These are values and pure functions; starting and ending commands is the job of `child` and `process`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

#: The variables a command inherits; a trailing `*` stands for any rest. No tokens, keys or proxies.
DEFAULT_ENV: Final[tuple[str, ...]] = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "TEMP", "TMP"),
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "USERNAME", "USERPROFILE", "HOMEDRIVE"),
    *("HOMEPATH", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PROGRAMFILES*", "PROCESSOR_ARCHITECTURE"),
)


@attrs.frozen(kw_only=True)
class Command:
    """What to run, with nothing left to look up."""

    #: The program and its arguments; nothing in them is expanded.
    argv: tuple[str, ...]
    #: The directory to run it in, absolute.
    cwd: str
    #: The whole environment of the child. It may hold secrets, so no repr shows it.
    env: Mapping[str, str] = attrs.field(repr=False)
    #: What it reads from stdin. It may hold secrets as well.
    input: bytes = attrs.field(default=b"", repr=False)
    #: Whether its stderr is that of this process, and not captured.
    inherits_stderr: bool = False


@attrs.frozen(kw_only=True)
class CommandResult:
    """How a command ended and what it wrote."""

    #: 0 for success; 128 + N when signal N ended it, as shells say.
    exit_code: int
    #: `SIGKILL` and the like when a signal ended it.
    signal: str | None = None
    #: The stream as text, or its first bytes up to the capture limit; invalid UTF-8 became U+FFFD.
    stdout: str = ""
    stderr: str = ""
    #: Whether the text is less than the stream.
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    #: The last `TAIL_BYTES` of a truncated stderr; "" when `stderr` is whole.
    stderr_tail: str = ""
    #: How many bytes the command wrote in all, behind the screen if there was one.
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    #: Whether bytes of either text had to be replaced.
    lossy: bool = False
    #: The name of the spill that has the stream up to the spill limit; None when nothing was spilled.
    stdout_spill: str | None = None
    stderr_spill: str | None = None
    #: Whether a process that left the command's group still holds its output.
    leaked: bool = False
    #: From the start to the end of the command itself, in seconds.
    seconds: float = 0.0


def shell_argv(text: str) -> tuple[str, ...]:
    """The argument vector that has the system's shell run `text`.

    Example:
        >>> shell_argv("make && make install")
        ('/bin/sh', '-c', 'make && make install')
    """
    if sys.platform == "win32":
        return (os.environ.get("COMSPEC", "cmd.exe"), "/d", "/s", "/c", text)
    return ("/bin/sh", "-c", text)


def inherited_env(environ: Mapping[str, str], extra: Iterable[str] = ()) -> dict[str, str]:
    """The part of an environment that a command gets to see.

    Args:
        environ: where to take it from, such as `os.environ`.
        extra: names beside `DEFAULT_ENV`, compared exactly; a trailing `*` stands for any rest.

    Returns:
        A new mapping.

    Example:
        >>> inherited_env({"PATH": "/bin", "LC_ALL": "C", "API_KEY": "k", "CI_JOB": "7"}, ["CI_*"])
        {'PATH': '/bin', 'LC_ALL': 'C', 'CI_JOB': '7'}
    """
    patterns = {*DEFAULT_ENV, *extra}
    prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
    return {name: value for name, value in environ.items() if name in patterns or name.startswith(prefixes)}
