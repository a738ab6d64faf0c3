"""The same files through ruff, for those who have it installed: an optional step that fails where it is not."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator

from review_kit.findings import CheckResult, Found, check_files
from review_kit.git import File
from statemachine_flow import StepContext

_COMMAND = ("ruff", "check", "--quiet", "--no-cache", "--exit-zero", "--output-format=json")


def check(*, repo: str, files: list[File], pace: float, context: StepContext) -> CheckResult:
    """Check Python files with ruff and the configuration of the work tree.

    Args:
        repo: any directory of the repository; where ruff looks for its configuration.
        files: Python files.
        pace: seconds to rest after each file.
        context: of the step.

    Raises:
        FileNotFoundError: ruff is not installed.
        RuntimeError: ruff refused its configuration or its arguments.
    """
    if shutil.which("ruff") is None:
        raise FileNotFoundError("ruff is not installed, or not on the PATH")
    return check_files(context, repo, files, pace, lambda path, content: list(_check(repo, path, content)))


def _check(repo: str, path: str, content: bytes) -> Iterator[Found]:
    command = [*_COMMAND, f"--stdin-filename=./{path}", "-"]
    done = subprocess.run(command, cwd=repo, input=content, capture_output=True, check=False, timeout=60)
    if done.returncode:
        raise RuntimeError(done.stderr.decode("utf-8", "replace").strip()[-500:])
    for problem in json.loads(done.stdout or b"[]"):
        # Without a code it is a syntax error, which the step byte-compile reports.
        if problem["code"] and problem["code"] != "invalid-syntax":
            message = f"{problem['code']}: {problem['message']}"
            yield problem["location"]["row"], "low", "ruff", message
