"""The same workflow as `code_review.toml`, built in Python, and how to run it from Python.

    python3 examples/code_review.py [REPOSITORY]

The references that calls return, such as `changes.output.files`, say which step needs which.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from review_kit import checks, git, report, ruff, secrets

import statemachine_flow as smf

#: What the workflow can be told; by default an input is a string.
INPUTS: Final[dict[str, dict[str, Any]]] = {
    "repo": {"type": "path", "default": ".", "description": "any directory of the repository"},
    "base": {"default": "", "description": "a commit, branch or tag to compare with; empty for the parent of head"},
    "head": {"default": "HEAD", "description": "the commit, branch or tag to review"},
    "all_files": {"type": "boolean", "default": False, "description": "review every file of head, whatever base says"},
    "report": {"type": "path", "default": ".smf/code-review.md", "description": "where to write the page"},
    "fail_on": {
        "default": "never",
        "enum": ["never", "high", "medium", "low"],
        "description": "the mildest severity that fails the run",
    },
    "max_file_bytes": {"type": "integer", "default": 500_000, "description": "larger files are not checked"},
    "max_line_length": {"type": "integer", "default": 120},
    "max_complexity": {"type": "integer", "default": 10},
    "max_file_lines": {"type": "integer", "default": 500},
    "max_function_lines": {"type": "integer", "default": 60},
    "pace": {
        "type": "number",
        "default": 0.0,
        "description": "seconds a check rests after each file, to leave the machine to others",
    },
}

GIT_LOG: Final = ("log", "--no-show-signature", "--max-count=20", "--format=%h %s")


def build() -> smf.Workflow:
    """Build the workflow; it has the content hash of the documents beside it."""
    review = smf.Workflow(
        "code-review",
        version="1.0.0",
        description="Checks the files that changed in a range of commits, and joins the findings in one Markdown page.",
        max_parallel=4,
        step_timeout="10m",
        retry=smf.RetryPolicy(max_attempts=3, delay=0.5, retry_on=("TransientGitError",)),
    )
    inputs = {name: review.input(name, **declared) for name, declared in INPUTS.items()}
    repo, pace = inputs["repo"], inputs["pace"]

    def given(*names: str) -> dict[str, smf.Ref]:
        return {name: inputs[name] for name in names}

    between = review.call("range", git.find_range, with_=given("repo", "base", "head", "all_files"))
    trees = {"base": between.output.base, "head": between.output.head}
    changes = review.call("changes", git.list_changes, with_={**given("repo", "max_file_bytes"), **trees})

    text = {"repo": repo, "files": changes.output.files, "pace": pace}
    python = {**text, "files": changes.output.python}
    lint = review.call("lint", checks.lint, with_={**text, **given("max_line_length")})
    compiled = review.call("byte-compile", checks.byte_compile, with_=python)
    complexity = review.call("complexity", checks.complexity, with_={**python, **given("max_complexity")})
    size = review.call("size", checks.size, with_={**python, **given("max_file_lines", "max_function_lines")})
    found = review.call("secrets", secrets.find_secrets, with_=text)
    external = review.call("ruff", ruff.check, optional=True, with_=python)

    log = ["git", "-C", repo, *GIT_LOG, between.output.log, "--"]
    subjects = {"subjects": "lines(stdout)"}
    commits = review.run("commits", log, timeout="30s", optional=True, outputs=subjects)

    required = [step.output for step in (found, compiled, lint, complexity, size)]
    page = review.call(
        "report",
        report.write_report,
        with_={
            "path": inputs["report"],
            "range": between.output,
            "changes": changes.output,
            "commits": "${{ default(steps.commits.outputs.subjects, []) }}",
            "checks": [*required, "${{ default(steps.ruff.output, None) }}"],
            "not_run": {"ruff": external.error, "commits": commits.error},
        },
    )
    severities = {"severities": page.output.severities}
    review.call("gate", report.gate, when="inputs.fail_on != 'never'", with_={**severities, **given("fail_on")})

    review.output("report", page.output.path)
    for name in ("findings", "severities", "markdown"):
        review.output(name, page.output[name])
    return review


def main() -> int:
    """Review a repository; return the exit status. A run that was cut off is resumed with `smf resume`."""
    repo = sys.argv[1] if len(sys.argv) > 1 else "."
    with smf.Engine() as engine:
        run = engine.run(build(), {"repo": repo})
    if run.error is not None:
        print(f"the review failed: {run.error.message}", file=sys.stderr)
        return 1
    print(f"{run.outputs['findings']} findings, see {run.outputs['report']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
