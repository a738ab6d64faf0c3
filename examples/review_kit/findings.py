"""What a check returns, and the loop over files that every check shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypedDict

from review_kit.git import File, open_blobs
from statemachine_flow import StepContext

#: From worst to least.
SEVERITIES: Final = ("high", "medium", "low")

#: Files were sorted by size before they came here.
_NO_LIMIT: Final = 1 << 62


class Finding(TypedDict):
    """Something wrong in a file."""

    path: str
    #: Counts from 1.
    line: int
    #: A key of `SEVERITIES`.
    severity: str
    #: One word for the kind of finding.
    rule: str
    #: One sentence; never the text of the file, which may hold a secret.
    message: str


class CheckResult(TypedDict):
    """What one check found."""

    check: str
    #: How many files it looked at.
    files: int
    findings: list[Finding]


class StoppedError(Exception):
    """The step was asked to stop before all files were checked."""


#: Line, severity, rule, message.
Found = tuple[int, str, str, str]


def check_files(
    context: StepContext,
    repo: str,
    files: Iterable[File],
    pace: float,
    check: Callable[[str, bytes], Iterable[Found]],
) -> CheckResult:
    """Apply a check to the content of each file.

    Args:
        context: of the step; between files it is asked whether to go on.
        repo: where the contents are.
        files: what to check.
        pace: seconds to rest after each file.
        check: gives the findings for a path and a content.

    Returns:
        The result, named after the step, with the findings of a file by line.

    Raises:
        StoppedError: the step should stop.
        TransientGitError: a content could not be read.
    """
    findings: list[Finding] = []
    count = 0
    with open_blobs(repo) as read:
        for file in files:
            if context.cancelled:
                raise StoppedError(f"after {count} files: {context.stop_reason}")
            content = read(file["blob"], _NO_LIMIT) or b""
            findings += _named(file["path"], check(file["path"], content))
            count += 1
            time.sleep(pace)
    return CheckResult(check=context.step_id, files=count, findings=findings)


def _named(path: str, found: Iterable[Found]) -> Iterator[Finding]:
    for line, severity, rule, message in sorted(found):
        yield Finding(path=path, line=line, severity=severity, rule=rule, message=message)
