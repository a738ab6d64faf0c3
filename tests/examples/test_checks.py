"""The checks of the example, each on small files that show what it is for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from review_kit import checks
from review_kit.findings import CheckResult, StoppedError
from review_kit.secrets import find_secrets

from statemachine_flow import StepContext

if TYPE_CHECKING:
    from tests.examples.conftest import Contents

Check = Callable[..., CheckResult]
ROOT = Path(__file__).resolve().parents[2]

#: As in the workflow.
OPTIONS: Mapping[Check, Mapping[str, Any]] = {
    checks.lint: {"max_line_length": 40},
    checks.byte_compile: {},
    checks.complexity: {"max_complexity": 3},
    checks.size: {"max_file_lines": 6, "max_function_lines": 3},
    find_secrets: {},
}


def context() -> StepContext:
    return StepContext(run_id="r", workflow="w", step_id="the-check", attempt=1)


def run(check: Check, contents: Contents, files: Mapping[str, str | bytes]) -> CheckResult:
    added = contents.add(files)
    return check(repo=contents.path, files=added, pace=0.0, context=context(), **OPTIONS[check])


def found(check: Check, contents: Contents, content: str | bytes, name: str = "pkg/a.py") -> list[tuple[int, str]]:
    """Line and rule of what a check finds in one file."""
    return [(one["line"], one["rule"]) for one in run(check, contents, {name: content})["findings"]]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("import os\n", [(1, "unused-import")]),
        ("import os.path\nos.path\n", []),
        ("import a as b\nimport c as c\nfrom d import *\nfrom __future__ import annotations\n", [(1, "unused-import")]),
        ("from typing import Any\nx: 'Any'\n", []),
        ("import a\n__all__ = ['a']\n", []),
        ("try:\n    import a\nexcept ImportError:\n    a = None\n", []),
        ("import os  # noqa: F401\n", []),
        ("try:\n    f()\nexcept:\n    pass\n", [(3, "bare-except")]),
        ("try:\n    f()\nexcept:\n    raise\n", []),
        ("try:\n    f()\nexcept Exception:\n    pass\n", []),
        ("def f(a=[], *, b={}, c=(), d=None): ...\n", [(1, "mutable-default"), (1, "mutable-default")]),
        ("async def f(a=set()): ...\n", [(1, "mutable-default")]),
        ("print(1)\n", [(1, "print")]),
        ("if __name__ == '__main__':\n    print(1)\n", []),
        ("x.print(1)\n", []),
        ("x = 1  # TODO: 2\n# FIXME\ny = 'TODO'\n", [(1, "reminder"), (2, "reminder")]),
        (f"x = '{'ä' * 40}'\ny = '{'ä' * 34}'\n", [(1, "long-line")]),
        ("<<<<<<< HEAD\n=======\n>>>>>>> other\n", [(1, "conflict"), (3, "conflict")]),
        ("def f(:\nimport os\n", []),
        ("", []),
    ],
)
def test_lint_finds_slips(contents: Contents, content: str, expected: list[tuple[int, str]]) -> None:
    assert found(checks.lint, contents, content) == expected


def test_lint_looks_for_conflict_markers_alone_in_what_is_not_python(contents: Contents) -> None:
    content = f"import os  # TODO\n{'x' * 99}\n>>>>>>> other\n"

    assert found(checks.lint, contents, content, "notes.md") == [(3, "conflict")]


@pytest.mark.parametrize("name", ["tests/a.py", "x/examples/a.py", "setup.py", "pkg/__main__.py"])
def test_lint_lets_scripts_and_tests_print(contents: Contents, name: str) -> None:
    assert found(checks.lint, contents, "print(1)\n", name) == []


def test_lint_takes_the_imports_of_a_package_for_its_exports(contents: Contents) -> None:
    assert found(checks.lint, contents, "import os\n", "pkg/__init__.py") == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("x = 1\n", []),
        ("x = 1\ndef f(:\n", [(2, "syntax")]),
        ("x = 'open\n", [(1, "syntax")]),
        ("def f():\n\tx = 1\n        y = 2\n", [(3, "syntax")]),
        ("return 1\n", [(1, "syntax")]),
        (b"# -*- coding: latin-1 -*-\nx = '\xe9'\n", []),
        (b"x = '\xe9'\n", [(1, "syntax")]),
        (b"# -*- coding: no-such -*-\n", [(1, "syntax")]),
        ("x = " + "(" * 5000 + ")" * 5000 + "\n", [(1, "syntax")]),
        ("x = '\\d'\n", [(1, "compiler")]),
        ("if x is 1: ...\n", [(1, "compiler")]),
    ],
)
def test_byte_compile_tells_what_python_says(
    contents: Contents, content: str | bytes, expected: list[tuple[int, str]]
) -> None:
    assert found(checks.byte_compile, contents, content) == expected


def test_byte_compile_survives_what_no_editor_writes(contents: Contents) -> None:
    """A NUL behind the part in which git looks for one, and nesting without brackets."""
    results = run(checks.byte_compile, contents, {"deep.py": "-" * 100_000 + "1\n", "nul.py": "#" * 9000 + "\n\0"})

    assert [one["path"] for one in results["findings"]] == ["deep.py", "nul.py"]


@pytest.mark.parametrize("check", OPTIONS)
def test_no_check_runs_what_it_checks(check: Check, contents: Contents, capfd: pytest.CaptureFixture[str]) -> None:
    run(check, contents, {"a.py": "import sys\nsys.stderr.write('ran')\nraise SystemExit\n"})

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("check", [checks.lint, checks.complexity, checks.size])
def test_broken_python_is_left_to_byte_compile(check: Check, contents: Contents) -> None:
    result = run(check, contents, {"a.py": "def f(:\n", "b.py": "x = '" + "\\d'\n", "c.py": b"x = '\xff'\n"})

    assert result["findings"] == []
    assert result["files"] == 3


@pytest.mark.parametrize(
    ("body", "ways"),
    [
        ("pass", 1),
        ("if a: pass\n elif b: pass\n else: pass", 3),
        ("for a in b: pass\n while c: pass", 3),
        ("try: pass\n except A: pass\n except B: pass", 3),
        ("return a and b and c or d", 4),
        ("return [a for a in b if c]", 2),
        ("return a if b else c", 2),
        ("match a:\n  case 1: pass\n  case 2: pass\n  case _: pass", 3),
        ("def g():\n  if a or b or c: pass", 1),
        ("class G:\n  def h(self): return a and b", 1),
        ("return lambda: a and b", 2),
        ("with a: pass", 1),
    ],
)
def test_complexity_counts_the_ways_through_a_function(contents: Contents, body: str, ways: int) -> None:
    """Functions inside are counted for themselves."""
    files = contents.add({"a.py": f"def f():\n {body}\n"})
    options: dict[str, Any] = {"repo": contents.path, "files": files, "pace": 0.0, "context": context()}
    said = [checks.complexity(max_complexity=most, **options)["findings"] for most in (ways - 1, ways)]

    assert [[one["message"] for one in findings if one["line"] == 1] for findings in said] == [
        [f"'f' has {ways} ways through it, more than {ways - 1}"],
        [],
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1\n" * 6, []),
        ("1\n" * 7, [(1, "long-file")]),
        ("1\n" * 6 + "7", [(1, "long-file")]),
        ("def f():\n 1\n 2\n", []),
        ("@d\n@d\nasync def f():\n 1\n 2\n 3\n", [(3, "long-function")]),
    ],
)
def test_size_counts_lines(contents: Contents, content: str, expected: list[tuple[int, str]]) -> None:
    assert found(checks.size, contents, content) == expected


# Put together here, or a review of this very file would find them.
RANDOM = "q9Zx7Lw2Vb4Nm8Kt3Rj6Hd1Fs5Gy0PcQe2Ua"
SECRETS = {
    "aws": "AKIA" + "Q7XW2ZB4NM8KT3RJ",
    "github": "ghp_" + RANDOM,
    "gitlab": "glpat-" + RANDOM[:20],
    "slack": "xoxb-" + RANDOM,
    "stripe": "sk_live_" + RANDOM,
    "google": "AIza" + RANDOM[:35],
    "model": "sk-ant-" + RANDOM + RANDOM,
    "token": ".".join(("eyJ" + RANDOM, "eyJ" + RANDOM, RANDOM)),
    "key": "-----BEGIN RSA PRIVATE" + " KEY-----",
    "url": "postgres://admin:" + "hunter22@db/x",
    "assigned": "API_KEY = '" + RANDOM + "'",
    "json": '"password": "' + RANDOM[:16] + '"',
}


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_are_found_and_never_shown(kind: str, contents: Contents) -> None:
    result = run(find_secrets, contents, {"a.txt": f"first line\nsecond {SECRETS[kind]} line\n"})

    assert [(one["line"], one["rule"]) for one in result["findings"]] == [(2, "secret")]
    assert not any(
        part[start : start + 4] in str(result) for part in (RANDOM, "hunter22") for start in range(len(part) - 3)
    )


@pytest.mark.parametrize(
    "line",
    [
        "AKIA" + "IOSFODNN7" + "EXAMPLE",
        "password = 'changeme-please'",
        "token = '${{ inputs.token }}-and-more'",
        "password = 'correct horse battery staple'",
        "secret = 'aaaaaaaaaaaaaaaaaaaa'",
        "token: str = tokens.pop('identifier-of-it')",
        "https://user:$PASSWORD@host/",
        "https://user:<password>@host/",
        "git@host:path, mailto:a@b.c, see http://host:8080/a@b",
        "sha256 = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'",
        "risk-assessment-of-the-long-hyphenated-identifier-in-style",
    ],
)
def test_what_only_looks_like_a_secret_is_not_one(line: str, contents: Contents) -> None:
    assert run(find_secrets, contents, {"a.txt": f"{line}\n"})["findings"] == []


@pytest.mark.parametrize(
    "text", ["eyJ", "token='", "://a:", "-----BEGIN ", "ghp_", "sk-ant-", "a", "token", "'" + "token="]
)
def test_a_hostile_file_costs_linear_time(text: str, contents: Contents) -> None:
    """The beginning of a match, again and again: in quadratic time it would take until the test's timeout."""
    result = run(find_secrets, contents, {"a.txt": text * (1_000_000 // len(text))})

    assert result["files"] == 1


def test_a_check_that_is_asked_to_stop_stops_between_files(contents: Contents) -> None:
    files = contents.add({"a.py": "", "b.py": ""})
    stopping = context()
    stopping.stop_reason = "cancel"

    with pytest.raises(StoppedError, match="after 0 files: cancel"):
        find_secrets(repo=contents.path, files=files, pace=0.0, context=stopping)


#: Says whether the filters of its process are as they were, and how much two of the checks have found.
SIDE_BY_SIDE = """
import json, sys, warnings
from concurrent.futures import ThreadPoolExecutor
from tests.examples import conftest
from tests.examples.test_checks import OPTIONS, checks, context

repo, files = sys.argv[1], json.loads(sys.argv[2])
every = [checks.byte_compile, checks.lint, checks.complexity, checks.size]
before = list(warnings.filters)
sys.setswitchinterval(1e-6)  # threads take turns as often as they can
with ThreadPoolExecutor(8) as pool:
    jobs = [
        pool.submit(check, repo=repo, files=files, pace=0.0, context=context(), **OPTIONS[check]) for check in every * 4
    ]
    results = [job.result() for job in jobs]
found = [sorted({len(result["findings"]) for result in results[number::4]}) for number in (0, 1)]
after = list(warnings.filters)
print(after == before or (before, after), *found)
"""


def test_checks_side_by_side_leave_the_warnings_of_the_process_alone(contents: Contents) -> None:
    """`warnings.catch_warnings` is one for all threads: without a lock a check would put back another's filters.

    In a process of its own: threads that earlier tests left behind may change the filters of this one at any time.
    """
    files = contents.add({f"{number}.py": "x = '\\d'\n" for number in range(200)})
    command = [sys.executable, "-c", SIDE_BY_SIDE, contents.path, json.dumps(files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stdout) == (0, "True [200] [0]\n"), done.stderr
