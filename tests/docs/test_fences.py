"""Every fenced document and script of the documentation does what the text around it says.

The info string of a fence says what is done with it:

    toml|yaml|json valid                    is a workflow without problems
    toml|yaml|json invalid KIND [KIND ...]  has exactly problems of these kinds, in this order
    toml|yaml|json fragment                 is part of one: `dsl`, `name` and steps that are needed are added
    toml|yaml|json run [ANSWER ...]         completes; functions that it calls give back their arguments and agents
                                            their prompts, and what it waits for gets the answers in order: EVENT!
                                            sends that signal with "hello", any other word is a choice of the approval
                                            that waits first
    toml|yaml|json fails [ANSWER ...]       the same, and the run fails
    toml|yaml|json script                   is a script for the workflow above it, which ends alike wherever its process
                                            dies, and completes
    toml|yaml|json script same              besides, it says what the script before it says
    toml|yaml|json script refused KIND ...  does not fit that workflow, for exactly these reasons, in this order
    json outputs                            are the outputs of the workflow above, which was marked `run`
    python run                              runs in a directory of its own
    python run same                         besides, it builds the workflow of the document above
    console run                             is looked at in `test_commands.py`

A fence of one of these languages without such words fails; those of other languages are not looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

import statemachine_flow as smf
from statemachine_flow.compiler import read_text
from statemachine_flow.compiler.source import Format
from statemachine_flow.testing import Script, rehearse
from tests.conformance.stage import named

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("dsl/**/*.md")),
    *sorted(ROOT.glob("examples/**/*.md")),
]
FENCE = re.compile(r"^(`{3,})(\w+)([^\n`]*)\n(.*?)^\1[ ]*$", re.MULTILINE | re.DOTALL)
DOCUMENTS = ("toml", "yaml", "json")
#: A fence as a browser shows one, however it is indented and whatever it is made of.
ANY_FENCE = re.compile(r"^[ >]*(`{3,}|~{3,})[ ]*([\w+-]+)", re.MULTILINE)
#: No documents or scripts.
OTHERS = {"console", "sh", "text", "mermaid"}


@attrs.frozen
class Fence:
    page: str
    #: Of the fence's first line of text.
    line: int
    language: str
    #: What its info string says after the language.
    words: tuple[str, ...]
    text: str
    #: The fence before it on the page, if that is looked at.
    before: Fence | None = attrs.field(repr=False)

    @property
    def mode(self) -> str:
        return " ".join([self.language, *self.words[:1]])

    def load(self, folder: Path) -> smf.Workflow:
        path = folder / f"fence.{self.language}"
        path.write_text(self.text, encoding="utf-8")
        return smf.load(path)


def fences(page: str, text: str) -> Iterator[Fence]:
    before = None
    for match in FENCE.finditer(text):
        _, language, words, body = match.groups()
        if language in (*DOCUMENTS, "python"):
            line = text.count("\n", 0, match.start(4)) + 1
            before = Fence(page, line, language, tuple(words.split()), body, before)
            yield before


ALL = [fence for page in PAGES for fence in fences(page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8"))]


def check_valid(fence: Fence, folder: Path) -> None:
    fence.load(folder)


def check_invalid(fence: Fence, folder: Path) -> None:
    with pytest.raises(smf.errors.DefinitionError) as caught:
        fence.load(folder)

    assert tuple(problem.kind for problem in caught.value.problems) == fence.words[1:]


def check_fragment(fence: Fence, folder: Path) -> None:
    data: dict[str, Any] = read_text(fence.text, format=cast(Format, fence.language))[0]
    steps = data.setdefault("steps", {"only": {"call": "f"}})
    for need in [need for step in steps.values() for need in step.get("needs", ())]:
        steps.setdefault(need, {"call": "f"})
    whole = {"dsl": "1", "name": "fragment", **data}
    attrs.evolve(fence, language="json", text=json.dumps(whole)).load(folder)


def check_run(fence: Fence, folder: Path) -> smf.Run:
    run = carried_out(fence, folder)

    assert (run.state, run.error) == ("completed", None)
    return run


def check_fails(fence: Fence, folder: Path) -> None:
    assert carried_out(fence, folder).state == "failed"


def carried_out(fence: Fence, folder: Path) -> smf.Run:
    workflow = fence.load(folder)
    tree = workflow.definition.tree()
    names = named(tree, "call", "verify")
    with smf.Engine(
        folder / "runs.db",
        functions=dict.fromkeys(names, give_back),
        agents=dict.fromkeys(named(tree, "agent"), lambda request: request.prompt),
        secrets=dict.fromkeys(declared_secrets(tree), "canary-of-the-tests"),
    ) as engine:
        run = engine.run(workflow)
        for answer in fence.words[1:]:
            if answer.endswith("!"):
                engine.signal(run.id, answer[:-1], "hello")
            else:
                engine.approve(run.id, run.waiting[0].path, choice=answer)
            run = engine.wait(run.id)
        return engine.wait(run.id, until="rest") if run.waiting else run


def declared_secrets(tree: Any) -> Iterator[str]:
    """The variables that steps of a document declare as secrets, at any depth."""
    if isinstance(tree, dict):
        yield from tree.get("secrets", ()) if isinstance(tree.get("secrets"), list) else ()
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from declared_secrets(part)


def give_back(**arguments: Any) -> dict[str, Any]:
    return arguments


def check_outcomes(fence: Fence, folder: Path) -> None:
    workflow = above(fence).load(folder)
    path = written(fence, folder)
    if fence.words[1:2] == ("refused",):
        with pytest.raises(smf.errors.DefinitionError) as caught:
            rehearse(workflow, script=path)
        assert [problem.kind for problem in caught.value.problems] == [*fence.words[2:]]
        assert all(problem.position is not None for problem in caught.value.problems)
        return

    report = rehearse(workflow, script=path, rows=2)

    assert (report.differences, report.state) == ((), "completed")
    if fence.words[1:] == ("same",):
        assert fence.before is not None
        assert Script.of(path) == Script.of(written(fence.before, folder))


def above(fence: Fence) -> Fence:
    """The workflow that a script is for."""
    assert fence.before is not None
    return above(fence.before) if fence.before.words[:1] == ("script",) else fence.before


def written(fence: Fence, folder: Path) -> Path:
    path = folder / f"script{fence.line}.{fence.language}"
    path.write_text(fence.text, encoding="utf-8")
    return path


def check_outputs(fence: Fence, folder: Path) -> None:
    assert fence.before is not None
    assert fence.before.words[:1] == ("run",)
    run = check_run(fence.before, folder)

    assert json.loads(fence.text) == run.outputs


def check_script(fence: Fence, folder: Path) -> None:
    # So many lines down that an error names the line of the page.
    code = compile("\n" * (fence.line - 1) + fence.text, fence.page, "exec")
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(code, names)
    if fence.words[1:] == ("same",):
        assert fence.before is not None
        document = fence.before.load(folder)
        built = [value for value in names.values() if isinstance(value, smf.Workflow)]

        assert [workflow.content_hash for workflow in built] == [document.content_hash]


CHECKS = {
    **{f"{language} valid": check_valid for language in DOCUMENTS},
    **{f"{language} invalid": check_invalid for language in DOCUMENTS},
    **{f"{language} fragment": check_fragment for language in DOCUMENTS},
    **{f"{language} run": check_run for language in DOCUMENTS},
    **{f"{language} fails": check_fails for language in DOCUMENTS},
    **{f"{language} script": check_outcomes for language in DOCUMENTS},
    "json outputs": check_outputs,
    "python run": check_script,
}


@pytest.mark.parametrize("fence", ALL, ids=[f"{fence.page}:{fence.line}" for fence in ALL])
def test_a_fenced_text_does_what_its_mark_says(fence: Fence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert fence.mode in CHECKS, f"{fence.page}:{fence.line}: mark the fence with one of {', '.join(CHECKS)}"
    CHECKS[fence.mode](fence, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_no_fence_is_overlooked(page: Path) -> None:
    """One of another language, in a list or of tildes would be neither executed nor checked."""
    text = page.read_text(encoding="utf-8")
    languages = [language for _, language in ANY_FENCE.findall(text)]
    found = [fence.language for fence in fences(page.name, text)]

    assert [language for language in languages if language not in OTHERS] == found


def test_fences_are_found_with_their_lines_and_marks() -> None:
    text = "# A\n\n```toml invalid definition.cycle\na = 1\n```\n\n```sh\nls\n```\n````json outputs\n```\n````\n"

    first, second = fences("page", text)
    assert (first.line, first.mode, first.words[1:], first.text) == (
        4,
        "toml invalid",
        ("definition.cycle",),
        "a = 1\n",
    )
    assert (second.line, second.mode, second.text, second.before) == (11, "json outputs", "```\n", first)


def test_the_documentation_has_fences_of_its_main_kinds() -> None:
    assert {"toml run", "toml valid", "yaml valid", "json outputs", "python run"} <= {fence.mode for fence in ALL}
