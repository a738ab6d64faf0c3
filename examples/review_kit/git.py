"""Read a git repository: which commits, which files changed between them, and what is in those files.

Everything comes from the object database, by object id: never from the work tree, and never from the network. A run
that is resumed after HEAD moved, or after files were edited, therefore goes on with the very contents it began with.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Final, TypedDict

#: Seconds for one answer of git.
_PATIENCE: Final = 60.0
#: Bytes at the beginning of a file in which git looks for a NUL to tell that it is binary.
_HEAD: Final = 8000
_PYTHON_NAME: Final = re.compile(r"\.pyi?w?$")
_PYTHON_SCRIPT: Final = re.compile(rb"#![^\n]{0,200}\bpython")
#: What git says when the same command may work in a moment.
_TRANSIENT: Final = re.compile(
    r"\.lock'|unable to read|temporarily unavailable|cannot fork|cannot allocate", re.IGNORECASE
)
_LINK, _SUBMODULE = "120000", "160000"


class GitError(Exception):
    """Git refused, and would refuse again."""


class TransientGitError(GitError):
    """Git failed for a reason that passes, such as a lock, a busy machine or a repack under way."""


class MissingError(GitError):
    """This clone does not have the content: it was cloned without it."""


class File(TypedDict):
    """One file to check."""

    #: From the top of the repository; bytes that are not UTF-8 are written as `\\xNN`.
    path: str
    #: The id of its content.
    blob: str
    python: bool


class NotChecked(TypedDict):
    """A changed file that is not checked."""

    path: str
    why: str


class Range(TypedDict):
    """What is reviewed."""

    #: Ids of a commit or tree, and of a commit.
    base: str
    head: str
    #: In words.
    title: str
    #: One sentence about the commit `head`: what of it is reviewed.
    note: str
    #: The same range as arguments for `git log`.
    log: list[str]


class Changes(TypedDict):
    """What changed in a range."""

    changed: int
    files: list[File]
    #: Those of `files` that are Python.
    python: list[File]
    not_checked: list[NotChecked]


def find_range(repo: str, base: str, head: str, all_files: bool) -> Range:
    """Decide which two trees are compared.

    Args:
        repo: any directory of the repository.
        base: a commit, branch or tag; what `head` changed since it left `base` is reviewed. "" stands for the
            parent of `head`.
        head: a commit, branch or tag.
        all_files: review every file of `head`, whatever `base` says.

    Raises:
        GitError: not a repository, or no such commit.
    """
    top = _commit(repo, head)
    if top is None:
        raise GitError(f"{head!r} names no commit in {repo}")
    empty = _git(repo, "hash-object", "-t", "tree", "--stdin").strip()
    everything = Range(
        base=empty, head=top, title=f"every file of {head}", note="All its files are reviewed.", log=[top]
    )
    if all_files:
        return everything
    if not base:
        parent = _commit(repo, f"{top}^1")
        if parent is None:
            why = "It has no parent here (a first commit, or a shallow clone), so all its files are reviewed."
            return {**everything, "note": why}
        note = f"Reviewed is what it changed in its parent {parent[:12]}."
        return Range(base=parent, head=top, title=f"the last commit of {head}", note=note, log=[top, f"^{parent}"])
    start = _commit(repo, base)
    if start is None:
        raise GitError(f"{base!r} names no commit in {repo}")
    fork = _git(repo, "merge-base", start, top, may_fail=True).strip()
    note = f"Reviewed is what changed since it left {base} at {fork[:12]}."
    if not fork:
        note = f"It has no common ancestor with {base} here, so the two are compared as they are."
    return Range(base=fork or start, head=top, title=f"{head} since {base}", note=note, log=[top, f"^{start}"])


def list_changes(repo: str, base: str, head: str, max_file_bytes: int) -> Changes:
    """List the files that differ between two trees, and sort out those that cannot be checked.

    Args:
        repo: any directory of the repository.
        base: the id of a commit or tree, from `find_range`.
        head: the id of a commit.
        max_file_bytes: larger files are not checked.

    Returns:
        Files to check, and for every other file why it is not. Files are in git's order, so by path.
    """
    # Renames are told by equal ids alone: comparing contents takes those of `base`, which a clone may lack.
    diff = _git(repo, "diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--find-renames=100%", base, head, "--")
    changes = Changes(changed=0, files=[], python=[], not_checked=[])
    with open_blobs(repo) as read:
        for old, new, path in _entries(diff):
            changes["changed"] += 1
            why, content = _reason(old, new), b""
            if not why:
                content, why = _content(read, new[1], max_file_bytes)
            if why:
                changes["not_checked"].append(NotChecked(path=path, why=why))
                continue
            is_python = bool(_PYTHON_NAME.search(path) or _PYTHON_SCRIPT.match(content))
            file = File(path=path, blob=new[1], python=is_python)
            changes["files"].append(file)
            if is_python:
                changes["python"].append(file)
    return changes


#: Mode and object id of one side of a change.
_Side = tuple[str, str]


def _entries(diff: str) -> Iterator[tuple[_Side, _Side, str]]:
    """Each change of a raw diff: its old side, its new side, and the path it has now."""
    fields = iter(diff.split("\0"))
    for head in fields:
        if not head:
            return
        old_mode, new_mode, old_id, new_id, status = head.removeprefix(":").split(" ")
        path = next(fields)
        if status[0] in "RC":  # a rename or copy names both paths
            path = next(fields)
        yield (old_mode, old_id), (new_mode, new_id), path


def _reason(old: _Side, new: _Side) -> str:
    """Why a change cannot be checked by its kind; "" if it can."""
    mode, blob = new
    if not blob.strip("0"):
        return "deleted"
    if mode == _SUBMODULE:
        return "a submodule"
    if mode == _LINK:
        return "a symbolic link"
    return "renamed or given another mode, with the same content" if blob == old[1] else ""


def _content(read: Callable[[str, int], bytes | None], blob: str, limit: int) -> tuple[bytes, str]:
    """A file's content, or why it cannot be checked."""
    try:
        content = read(blob, limit)
    except MissingError:
        return b"", "not in this clone"
    if content is None:
        return b"", f"larger than {limit:,} bytes"
    return (b"", "binary") if b"\0" in content[:_HEAD] else (content, "")


@contextmanager
def open_blobs(repo: str) -> Iterator[Callable[[str, int], bytes | None]]:
    """Start one git that hands out contents by id, for as many files as are asked for.

    Yields:
        A function of an id and a limit in bytes: the content, or None if it is larger. It raises `MissingError` if
        this clone has no such content, `TransientGitError` if git ended.
    """
    with _start(repo, "cat-file", "--batch", stderr=subprocess.DEVNULL) as process:
        stdin, stdout = _pipe(process.stdin), _pipe(process.stdout)

        def read(blob: str, limit: int) -> bytes | None:
            try:
                stdin.write(blob.encode() + b"\n")
                stdin.flush()
            except BrokenPipeError:
                raise TransientGitError("git ended before it was asked for every file") from None
            answer = stdout.readline().split()
            if answer[1:] == [b"missing"]:
                raise MissingError(f"this clone has no content {blob}")
            if not answer:
                raise TransientGitError("git ended before it gave every file")
            content = _take(stdout, int(answer[2]), limit)
            stdout.read(1)
            return content

        yield read


def _take(stream: IO[bytes], size: int, limit: int) -> bytes | None:
    """Read so many bytes; keep them unless they are too many, so that no file fills the memory."""
    if size <= limit:
        return stream.read(size)
    while size > 0:
        size -= len(stream.read(min(size, 1 << 20))) or size
    return None


def _commit(repo: str, name: str) -> str | None:
    """The id of a commit; None if the name stands for none."""
    if name.startswith("-"):  # git would read it as an option
        return None
    return _git(repo, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", may_fail=True).strip() or None


def _git(repo: str, *arguments: str, may_fail: bool = False) -> str:
    """What git prints.

    Args:
        repo: where.
        arguments: the command.
        may_fail: whether a status of 1 is an answer, and not an error.

    Raises:
        GitError: git failed, with what it said.
    """
    with _start(repo, *arguments) as process:
        try:
            output, said = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise TransientGitError(f"git {arguments[0]} took longer than {_PATIENCE:g} s") from None
    if process.returncode and not (may_fail and process.returncode == 1):
        message = said.decode("utf-8", "replace").strip() or f"git {arguments[0]} ended with {process.returncode}"
        raise (TransientGitError if _TRANSIENT.search(message) else GitError)(message)
    return output.decode("utf-8", "backslashreplace")


def _start(repo: str, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    # A caller such as a git hook sets GIT_DIR and the like, which would lead elsewhere.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environ |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
    command = ["git", "-C", repo, "--no-pager", *arguments]
    try:
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environ, stdin=pipe, stdout=pipe, stderr=stderr)
    except FileNotFoundError:
        raise GitError("git is not installed, or not on the PATH") from None
    except OSError as error:
        raise TransientGitError(f"git cannot be started: {error}") from error


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise GitError("git was started without a pipe")
    return stream
