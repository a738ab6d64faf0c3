"""The page that a review ends in, and the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from review_kit.findings import SEVERITIES, CheckResult, Finding
from review_kit.git import Changes, File, NotChecked, Range
from review_kit.report import FindingsError, Report, gate, write_report

from statemachine_flow import StepContext

RANGE = Range(base="b" * 40, head="a" * 40, title="main", note="A note.", log=[])


def finding(path: str = "a.py", line: int = 1, severity: str = "low", message: str = "a message") -> Finding:
    return Finding(path=path, line=line, severity=severity, rule="rule", message=message)


def changes(files: int = 1, not_checked: list[NotChecked] | None = None) -> Changes:
    several = [File(path=f"{number}.py", blob="0", python=True) for number in range(files)]
    left_out = not_checked or []
    return Changes(changed=files + len(left_out), files=several, python=several, not_checked=left_out)


def write(path: Path, *findings: Finding, **options: Any) -> Report:
    given: dict[str, Any] = {
        "range": RANGE,
        "changes": changes(),
        "commits": [],
        "checks": [CheckResult(check="lint", files=1, findings=list(findings))],
        "not_run": {},
        "context": StepContext(run_id="r1", workflow="w", step_id="report", attempt=1),
    }
    return write_report(path=str(path), **given | options)


def lines(report: Report) -> list[str]:
    return report["markdown"].splitlines()


def test_the_page_is_written_and_returned(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "page.md"
    report = write(path, finding(severity="high"), finding(severity="low"), finding(severity="low"))

    assert report["path"] == str(path)
    assert report["markdown"] == path.read_text(encoding="utf-8")
    assert (report["findings"], report["severities"]) == (3, {"high": 1, "medium": 0, "low": 2})


def test_findings_stand_by_file_and_the_worst_first(tmp_path: Path) -> None:
    found = [finding("a.py", 1), finding("c.py", 9, "low"), finding("c.py", 3, "low"), finding("c.py", 7, "high")]
    page = lines(write(tmp_path / "page.md", *found, finding("b.py", 1)))

    assert page[page.index("## Findings") :] == [
        *("## Findings", ""),
        *("### `c.py`", ""),
        "- line 7: **high** rule: a message",
        "- line 3: **low** rule: a message",
        "- line 9: **low** rule: a message",
        *("", "### `a.py`", "", "- line 1: **low** rule: a message"),
        *("", "### `b.py`", "", "- line 1: **low** rule: a message"),
    ]


def test_every_check_has_a_line_with_its_worst_finding(tmp_path: Path) -> None:
    checks = [
        CheckResult(check="one", files=3, findings=[finding(severity="low"), finding(severity="medium")]),
        None,
        CheckResult(check="two", files=4, findings=[]),
    ]
    not_run = {"absent": {"message": "no such | file\nand more", "name": "E", "kind": "k"}, "ran": None}
    page = lines(write(tmp_path / "page.md", checks=checks, not_run=not_run))

    assert [line for line in page if line.startswith("| ")] == [
        "| check | files | findings | worst |",
        "| one | 3 | 2 | medium |",
        "| two | 4 | 0 | - |",
        "| absent | - | - | did not run: no such \\| file |",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"changes": changes(0)}, "Nothing changed."),
        ({"changes": changes(0, [NotChecked(path="a", why="deleted")])}, "**No findings** in 0 files."),
        ({"changes": changes(1)}, "**No findings** in 1 file."),
        ({"changes": changes(2)}, "**No findings** in 2 files."),
    ],
)
def test_the_page_begins_with_what_matters(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    assert lines(write(tmp_path / "page.md", **options))[2] == said


def test_what_was_not_checked_is_listed_with_the_reason_and_commits_with_their_subjects(tmp_path: Path) -> None:
    left_out = [NotChecked(path="x.png", why="binary")]
    page = lines(write(tmp_path / "page.md", changes=changes(1, left_out), commits=["abc fix: *all* @you"]))

    assert page[page.index("## Not checked") :] == [
        *("## Not checked", "", "- `x.png`: binary"),
        *("", "## Commits", "", "- `abc fix: *all* @you`"),
    ]


def test_a_long_list_is_cut_and_says_so(tmp_path: Path) -> None:
    many = [NotChecked(path=f"{number}", why="binary") for number in range(70)]
    page = lines(write(tmp_path / "page.md", *[finding()] * 60, changes=changes(1, many)))

    assert [line for line in page if line.startswith("- and")] == ["- and 10 more", "- and 20 more"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a b.py", "`a b.py`"),
        ("grüße.py", "`grüße.py`"),
        ("a`b.py", "``a`b.py``"),
        ("`a``", "``` `a`` ```"),
        (" a", "`  a `"),
        ("<img src=x>|*_", "`<img src=x>|*_`"),
        ("a\nb\x1b[2J\u202e", "`a\\nb\\x1b[2J\\u202e`"),
    ],
)
def test_a_file_name_is_shown_as_it_is_and_does_nothing(name: str, shown: str, tmp_path: Path) -> None:
    assert f"### {shown}" in lines(write(tmp_path / "page.md", finding(name)))


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("'max_parallel' is plain", "'max_parallel' is plain"),
        ("'_a' and '_b_'", "'\\_a' and '\\_b\\_'"),
        ("**b** <b> [l](u) `c` a|b ~~s~~ &amp;", "\\*\\*b\\*\\* \\<b> \\[l\\](u) \\`c\\` a\\|b \\~\\~s\\~\\~ \\&amp;"),
        ("two\nlines", "two\\\\nlines"),
    ],
)
def test_a_message_is_no_markup(message: str, shown: str, tmp_path: Path) -> None:
    assert f"- line 1: **low** rule: {shown}" in lines(write(tmp_path / "page.md", finding(message=message)))


def test_a_page_takes_the_place_of_an_older_one_and_of_what_a_killed_attempt_left(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("older")
    (tmp_path / ".page.md.r1.part").write_text("half of a pa")
    report = write(path)

    assert path.read_text(encoding="utf-8") == report["markdown"]
    assert list(tmp_path.iterdir()) == [path]


def test_an_older_page_stays_when_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("older")
    (tmp_path / ".page.md.r1.part").mkdir()

    with pytest.raises(OSError, match="page"):
        write(path)
    assert path.read_text() == "older"


@pytest.mark.parametrize("fail_on", SEVERITIES)
@pytest.mark.parametrize("found", [*SEVERITIES, None])
def test_the_gate_refuses_what_is_as_bad_or_worse(fail_on: str, found: str | None) -> None:
    severities = {severity: int(severity == found) for severity in SEVERITIES}
    refused = found is not None and SEVERITIES.index(found) <= SEVERITIES.index(fail_on)

    if refused:
        with pytest.raises(FindingsError, match="1 finding of severity high"):
            gate(severities=severities, fail_on=fail_on)
    else:
        gate(severities=severities, fail_on=fail_on)
