"""Look for keys and passwords that should not be in a repository; what is found is never shown.

A finding names the kind and the place, so that neither the report nor the journal of the run becomes a second copy of
the secret. Every pattern is bounded, so that a hostile file costs linear time.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from review_kit.findings import CheckResult, Found, check_files
from review_kit.git import File
from statemachine_flow import StepContext

#: What a key begins with (a text without it needs no search), the rest of it, and what it is.
_KEYS: Final = tuple(
    (start, re.compile(r"(?<![A-Za-z0-9_-])" + re.escape(start) + rest), what)
    for start, rest, what in (
        ("AKIA", r"[0-9A-Z]{16}(?![0-9A-Z])", "an AWS access key"),
        ("ASIA", r"[0-9A-Z]{16}(?![0-9A-Z])", "an AWS access key"),
        ("ghp_", r"[A-Za-z0-9]{36,80}", "a GitHub token"),
        ("github_pat_", r"[A-Za-z0-9_]{40,120}", "a GitHub token"),
        ("glpat-", r"[A-Za-z0-9_-]{20,60}", "a GitLab token"),
        ("xox", r"[abprs]-[A-Za-z0-9-]{10,120}", "a Slack token"),
        ("sk_live_", r"[A-Za-z0-9]{20,120}", "a Stripe key"),
        ("AIza", r"[A-Za-z0-9_-]{35}", "a Google API key"),
        ("sk-", r"(?:(?:ant|proj)-[A-Za-z0-9_-]{32,200}|[A-Za-z0-9]{40,60})", "an API key of a model provider"),
        ("eyJ", r"[A-Za-z0-9_-]{10,300}\.eyJ[A-Za-z0-9_-]{10,600}\.[A-Za-z0-9_-]{10,300}", "a signed web token"),
        ("-----BEGIN ", r"(?:[A-Z0-9]{2,20} ){0,2}PRIVATE KEY(?: BLOCK)?-----", "a private key"),
    )
)
_PASSWORD_IN_URL: Final = re.compile(r"://[^/\s:@\"']{1,80}:([^/\s:@\"']{3,80})@")
_ASSIGNED: Final = re.compile(
    r"(?:passwo?r?d|passphrase|secret|token|api_?key|access_?key)[\"']?[ \t]{0,8}[:=][ \t]{0,8}"
    r"[\"']([^\"'\s]{12,120})[\"']",
    re.IGNORECASE,
)
#: What a value has that is filled in elsewhere.
_PLACEHOLDER: Final = re.compile(r"[${}<>*%]|example|placeholder|changeme|password|dummy", re.IGNORECASE)
#: Bits per character; English words have about 3, random letters and digits more than 4.
_RANDOM: Final = 3.5


def find_secrets(*, repo: str, files: list[File], pace: float, context: StepContext) -> CheckResult:
    """Look for secrets by their form, and for passwords by how random they are.

    Args:
        repo: any directory of the repository.
        files: text files of any kind.
        pace: seconds to rest after each file.
        context: of the step.
    """
    return check_files(context, repo, files, pace, lambda _path, content: _search(content.decode("utf-8", "replace")))


def _search(text: str) -> Iterator[Found]:
    for start, pattern, what in _KEYS:
        for match in pattern.finditer(text) if start in text else ():
            if "EXAMPLE" not in match[0]:  # the keys in manuals
                yield _found(text, match.start(), "high", f"this looks like {what}")
    for match in _PASSWORD_IN_URL.finditer(text):
        if not _PLACEHOLDER.search(match[1]):
            yield _found(text, match.start(), "medium", "this looks like a password in an address")
    for match in _ASSIGNED.finditer(text):
        if _bits(match[1]) > _RANDOM and not _PLACEHOLDER.search(match[1]):
            yield _found(text, match.start(), "medium", "this looks like a password or key in the code")


def _found(text: str, offset: int, severity: str, message: str) -> Found:
    return text.count("\n", 0, offset) + 1, severity, "secret", message


def _bits(value: str) -> float:
    """Shannon entropy of a text, in bits per character."""
    shares = (count / len(value) for count in Counter(value).values())
    return -sum(share * math.log2(share) for share in shares)
