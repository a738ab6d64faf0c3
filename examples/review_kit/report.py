"""What all checks found, as one Markdown page; and the gate that fails a run because of it.

The page holds no times and no order of events: whether a run went through in one go or was killed and resumed, the
same range gives the same bytes.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypedDict

from review_kit.findings import SEVERITIES, CheckResult, Finding
from review_kit.git import Changes, NotChecked, Range
from statemachine_flow import StepContext

#: A list is cut behind so many items.
_LISTED: Final = 50
#: What Markdown or HTML would take for markup; an underline inside a word is none.
_MARKUP: Final = re.compile(r"[\\`*\[\]<|&~]|\b_|_\b|(?<=_)_")


class Report(TypedDict):
    """The outcome of a review."""

    #: Where the page lies.
    path: str
    markdown: str
    findings: int
    #: Severity -> how many findings have it.
    severities: dict[str, int]


class FindingsError(Exception):
    """The review found something that the run was told not to accept."""


def write_report(
    *,
    path: str,
    range: Range,  # noqa: A002 - the workflow's own word
    changes: Changes,
    commits: Sequence[str],
    checks: Sequence[CheckResult | None],
    not_run: Mapping[str, Mapping[str, str] | None],
    context: StepContext,
) -> Report:
    """Write the page, atomically: at `path` there is the old page or the new one, and never half of one.

    Args:
        path: where to; its folder is made.
        range: what was reviewed.
        changes: the files of the range.
        commits: of the range, one line each.
        checks: what they found; None for an optional one that failed.
        not_run: optional step -> its error, or None if it completed.
        context: of the step.
    """
    done = [check for check in checks if check is not None]
    findings = [finding for check in done for finding in check["findings"]]
    failed = {step: error for step, error in sorted(not_run.items()) if error is not None}
    counted = Counter(finding["severity"] for finding in findings)
    blocks = [
        *_head(range, changes, len(findings), counted),
        "\n".join(_table(done, failed)),
        *_findings(findings),
        *_not_checked(changes["not_checked"]),
        *_commits(commits),
    ]
    markdown = "\n\n".join(blocks) + "\n"
    _replace(Path(path), markdown, context.run_id)
    severities = {severity: counted[severity] for severity in SEVERITIES}
    return Report(path=path, markdown=markdown, findings=len(findings), severities=severities)


def gate(*, severities: Mapping[str, int], fail_on: str) -> None:
    """Fail if there are findings of a severity, or of a worse one.

    Args:
        severities: how many findings have each.
        fail_on: the mildest severity that is not accepted.

    Raises:
        FindingsError: there are some.
    """
    refused = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    count = sum(severities[severity] for severity in refused)
    if count:
        raise FindingsError(f"{_counted(count, 'finding')} of severity {' or '.join(refused)}")


# --- the page, block by block


def _head(reviewed: Range, changes: Changes, findings: int, severities: Mapping[str, int]) -> Iterator[str]:
    files = _counted(len(changes["files"]), "file")
    yield f"# Code review: {_plain(reviewed['title'])}"
    if not changes["changed"]:
        yield "Nothing changed."
    elif not findings:
        yield f"**No findings** in {files}."
    else:
        each = ", ".join(f"{severities[severity]} {severity}" for severity in SEVERITIES if severities[severity])
        yield f"**{_counted(findings, 'finding')}** ({each}) in {files}."
    yield f"Contents are those of commit `{reviewed['head'][:12]}`. {_plain(reviewed['note'])}"


def _table(checks: Iterable[CheckResult], failed: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    yield from ("| check | files | findings | worst |", "|---|--:|--:|---|")
    for check in checks:
        found = {finding["severity"] for finding in check["findings"]}
        worst = next((severity for severity in SEVERITIES if severity in found), "-")
        yield f"| {check['check']} | {check['files']} | {len(check['findings'])} | {worst} |"
    for step, error in failed.items():
        reason = error["message"].strip().partition("\n")[0][:200]
        yield f"| {step} | - | - | did not run: {_plain(reason)} |"


def _findings(findings: Iterable[Finding]) -> Iterator[str]:
    yield "## Findings"
    files: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        files[finding["path"]].append(finding)
    for path, found in sorted(files.items(), key=lambda file: (min(map(_rank, file[1])), file[0])):
        yield f"### {_code(path)}"
        found.sort(key=lambda one: (_rank(one), one["line"]))
        yield _list(
            [f"line {one['line']}: **{one['severity']}** {one['rule']}: {_plain(one['message'])}" for one in found]
        )
    if not files:
        yield "None."


def _rank(finding: Finding) -> int:
    return SEVERITIES.index(finding["severity"])


def _not_checked(files: Sequence[NotChecked]) -> Iterator[str]:
    if files:
        yield "## Not checked"
        yield _list([f"{_code(file['path'])}: {file['why']}" for file in files])


def _commits(commits: Sequence[str]) -> Iterator[str]:
    if commits:
        yield "## Commits"
        yield _list([_code(line) for line in commits])


def _list(items: Sequence[str]) -> str:
    rest = [f"and {len(items) - _LISTED} more"] if len(items) > _LISTED else []
    return "\n".join(f"- {item}" for item in [*items[:_LISTED], *rest])


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _plain(text: str) -> str:
    """Text of others as text, whatever markup it holds."""
    return _MARKUP.sub(r"\\\g<0>", _visible(text))


def _code(text: str) -> str:
    """Text of others as code, fenced by more backticks than it has."""
    text = _visible(text)
    fence = "`" * (1 + max(map(len, re.findall(r"`+", text)), default=0))
    # One blank on each side belongs to the fence, where the text has a backtick or a blank of its own at an end.
    return f"{fence} {text} {fence}" if text.strip(" `") != text else f"{fence}{text}{fence}"


def _visible(text: str) -> str:
    """Control characters, line ends and marks that turn the writing direction, written as escapes."""
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _UNSEEN else char for char in text
    )


_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def _replace(path: Path, text: str, run_id: str) -> None:
    """Put a new file into the place of an old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Named after the run: an attempt that was killed leaves a part, which the next one overwrites and renames.
    part = path.with_name(f".{path.name}.{run_id}.part")
    with part.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
