"""The functions that the code review workflow calls; `code_review.toml` names them as `review_kit.<module>:<name>`.

They are ordinary functions of the standard library and git: they take the step's `with` as keyword arguments and
return plain data. Nothing here knows which step runs when, or that a run can be killed and resumed.

    git         what is reviewed: the range, its changed files, and their contents
    findings    what a check returns, and the loop over files that all checks share
    checks      lint, byte_compile, complexity, size
    secrets     keys and passwords that should not be there
    ruff        the same files through ruff, where it is installed
    report      everything in one Markdown page, and the gate for CI
"""
