"""What holds for the files of the repository as a whole."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import statemachine_flow
from statemachine_flow import _version

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

#: Written apart, or this file would find itself.
REGISTRIES = [
    "pypi" + ".org",
    "python" + "hosted",
    "npm" + "js.org",
    "ana" + "conda.org",
    "--index" + "-url",
    "find" + "-links",
]
LOCK_FILES = {"uv.lock", "poetry.lock", "pdm.lock", "pylock.toml", "Pipfile.lock", "package-lock.json"}


def files() -> Iterator[Path]:
    """Yield the files of the tree; what git ignores here starts with a dot or is made by Python."""
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        made = any(part == "__pycache__" or part.endswith(".egg-info") or part == "dist" for part in parts)
        if path.is_file() and not made and (not parts[0].startswith(".") or parts[0] in {".ci", ".gitignore"}):
            yield path


def normal(name: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_no_file_names_a_package_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {registry}"
        for path in files()
        for registry in REGISTRIES
        if registry in path.read_text(encoding="utf-8", errors="replace")
    ]

    assert found == []


def test_there_is_no_lock_file() -> None:
    """Lock files hold the addresses of registries; `constraints.txt` pins without them."""
    assert [path for path in files() if path.name in LOCK_FILES] == []


def test_a_constraint_is_a_name_and_a_version_and_nothing_else() -> None:
    assert [line for line in pinned() if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)] == []


def test_every_requirement_has_a_constraint() -> None:
    groups = [PYPROJECT["project"]["dependencies"], *PYPROJECT["project"]["optional-dependencies"].values()]
    required = {normal(re.split(r"[\[<>=; ]", text)[0]) for group in groups for text in group}
    constrained = {normal(line.split("==")[0]) for line in pinned()}

    assert required - constrained - {"statemachine-flow"} == set()


def test_the_version_has_one_source() -> None:
    source = re.compile(r"^__version__ *=", re.MULTILINE)
    places = [
        path for path in (ROOT / "statemachine_flow").rglob("*.py") if source.search(path.read_text(encoding="utf-8"))
    ]

    assert places == [ROOT / "statemachine_flow" / "_version.py"]
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert ROOT / PYPROJECT["tool"]["hatch"]["version"]["path"] == places[0]
    assert getattr(statemachine_flow, "__version__", None) == _version.__version__


def test_the_newest_heading_of_the_changelog_is_of_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    version = re.escape(_version.__version__)

    assert re.fullmatch(rf"Unreleased \({version}\)|{version} - \d{{4}}-\d{{2}}-\d{{2}}", headings[0])


def test_the_layers_in_contributing_are_those_that_are_checked() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (contract,) = PYPROJECT["tool"]["importlinter"]["contracts"]

    assert "```\n" + "\n".join(contract["layers"]) + "\n```" in text
