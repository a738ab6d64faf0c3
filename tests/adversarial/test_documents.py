"""Cases 1 to 23: hostile documents. Each is refused by whatever reads it, with its place, and starts nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import statemachine_flow as smf_library
from statemachine_flow.errors import DefinitionError
from tests.cli.conftest import Done, Smf

#: What is good of a document that is bad otherwise.
TOML = 'dsl = "1"\nname = "x"\n'
YAML = 'dsl: "1"\nname: x\n'
STEP = 'steps.a.run = "true"\n'
#: A document of the format that is whole.
WHOLE = {
    "toml": TOML + STEP,
    "yaml": YAML + 'steps: {a: {run: "true"}}\n',
    "json": '{"dsl": "1", "name": "x", "steps": {"a": {"run": "true"}}}',
}

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")


def toml_step(text: str) -> str:
    return f'{TOML}steps.a = {{ run = "true", {text} }}\n'


def json_step(text: str) -> str:
    return f'{{"dsl": "1", "name": "x", "steps": {{"a": {{"run": "true", {text}}}}}}}'


Refused = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def refused(smf: Smf, folder: Path) -> Refused:
    """Have a document refused by `validate` and by `run`; gives the problems."""

    def refuse(text: str | bytes, kind: str, form: str = "toml", *, is_placed: bool = True) -> list[dict[str, Any]]:
        (folder / f"case.{form}").write_bytes(text.encode() if isinstance(text, str) else text)
        return refused_as(f"case.{form}", kind, smf, folder, is_placed=is_placed)

    return refuse


def refused_as(name: str, kind: str, smf: Smf, folder: Path, *, is_placed: bool = True) -> list[dict[str, Any]]:
    before = sorted(folder.iterdir())
    checked = smf("validate", name, "--json")
    problems: list[dict[str, Any]] = checked.json["files"][0]["problems"]
    started = smf("run", name, "--json")
    spoken = smf("validate", name)

    assert (checked.code, started.code, spoken.code, spoken.out) == (3, 3, 3, "")
    assert started.json["error"]["problems"] == problems
    assert kind in [problem["kind"] for problem in problems], problems
    assert f"error[{kind}]" in spoken.err
    assert "Traceback" not in spoken.err
    if is_placed:
        found = next(problem for problem in problems if problem["kind"] == kind)
        assert (found["file"], found["line"] > 0, found["column"] > 0) == (name, True, True)
    assert sorted(folder.iterdir()) == before  # no store was made, let alone a run
    return problems


@pytest.mark.parametrize("form", ["toml", "yaml", "json"])
@pytest.mark.parametrize("text", ["", "\n\n", "# one\n# two\n"], ids=["nothing", "blank", "comments"])
def test_case_01_a_document_that_says_nothing(refused: Refused, form: str, text: str) -> None:
    refused("" if form == "json" else text, "definition.empty", form)


@pytest.mark.parametrize(
    ("text", "form"),
    [("- a\n- b\n", "yaml"), ("[1, 2]", "json"), ("hello\n", "yaml"), ('"hello"', "json"), ("7", "json")],
)
def test_case_02_a_root_that_is_no_table(refused: Refused, text: str, form: str) -> None:
    assert "not a table" in refused(text, "definition.type", form)[0]["message"]


def alias_bomb() -> str:
    levels = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for above, name in zip("abcdefgh", "bcdefghi", strict=True):
        levels.append(f"{name}: &{name} [{', '.join([f'*{above}'] * 9)}]")
    return "\n".join(levels)


#: Bytes of memory that refusing a document may take beside what a good one of that format took.
ROOM = 16 << 20
GROWTH = """
import resource, sys
from pathlib import Path
import statemachine_flow as smf
from statemachine_flow.errors import DefinitionError
good, *bad = map(Path, sys.argv[1:])
def peak():
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024
smf.load(good)
before = peak()
for path in bad:
    try:
        smf.load(path)
    except DefinitionError as error:
        print(error.kind)
print(peak() - before)
"""


def kinds_and_growth(folder: Path, form: str, texts: list[str]) -> tuple[list[str], int]:
    """What a fresh process says to documents, and by how many bytes its memory grew."""
    good = folder / f"good.{form}"
    good.write_text(WHOLE[form])
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.{form}")
        paths[-1].write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, good, *paths], capture_output=True, text=True, check=True, timeout=60
    )
    *said, growth = done.stdout.splitlines()
    return said, int(growth)


@posix
def test_case_03_an_alias_bomb(refused: Refused, folder: Path) -> None:
    refused(alias_bomb(), "definition.alias", "yaml")
    said, growth = kinds_and_growth(folder, "yaml", [alias_bomb(), YAML + alias_bomb()])

    assert said == ["definition.alias"] * 2
    assert growth < ROOM


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "&a [*a]\n", "a: &a {b: *a}\n"])
def test_case_04_an_anchor_that_refers_to_itself(refused: Refused, text: str) -> None:
    refused(text, "definition.alias", "yaml")


DEEP = [25_000, 200_000]


@posix
@pytest.mark.parametrize(
    ("unit", "kind"),
    [
        ("[", "definition.too_deep"),
        ("{a: ", "definition.too_deep"),
        ("- ", "definition.too_deep"),
        ("? ", "definition.type"),  # a mapping as a key ends the reading at once
    ],
)
def test_case_05_deep_yaml(refused: Refused, folder: Path, unit: str, kind: str) -> None:
    texts = [f"a:\n  {unit * count}" for count in DEEP]
    refused(texts[0], kind, "yaml")
    said, growth = kinds_and_growth(folder, "yaml", texts)

    assert said == [kind] * 2
    assert growth < ROOM


TOML_DEEP: dict[str, Callable[[int], str]] = {
    "arrays": lambda count: f"{TOML}a = {'[' * count}",
    "closed arrays": lambda count: f"{TOML}a = {'[' * count}{']' * count}",
    "inline tables": lambda count: f"{TOML}a = {'{a=' * count}",
    "dotted key": lambda _: f"{TOML}{'.'.join(['a'] * 5000)} = 1",
    "dotted header": lambda _: f"{TOML}[{'.'.join(['a'] * 5000)}]",
}


@posix
@pytest.mark.parametrize("what", TOML_DEEP)
def test_case_06_deep_toml(refused: Refused, folder: Path, what: str) -> None:
    texts = [TOML_DEEP[what](count) for count in DEEP]
    refused(texts[0], "definition.too_deep")
    said, growth = kinds_and_growth(folder, "toml", texts)

    assert said == ["definition.too_deep"] * 2
    assert growth < ROOM


@pytest.mark.parametrize("form", ["toml", "yaml", "json"])
def test_case_07_an_integer_of_5000_digits(refused: Refused, form: str) -> None:
    digits = "9" * 5000
    texts = {
        "toml": toml_step(f"timeout = {digits}"),
        "yaml": f'{YAML}steps: {{a: {{run: "true", timeout: {digits}}}}}',
        "json": json_step(f'"timeout": {digits}'),
    }
    refused(texts[form], "definition.number", form)


def test_case_07_a_sexagesimal_number_is_none(refused: Refused) -> None:
    """To YAML 1.2 it is text, and so no timeout; TOML has nothing like it."""
    number = "1" + ":59" * 20_000
    refused(f'{YAML}steps: {{a: {{run: "true", timeout: {number}}}}}', "definition.range", "yaml")
    refused(toml_step(f"timeout = {number}"), "definition.syntax")


@pytest.mark.parametrize("key", ["timeout", "retry.delay", "retry.factor"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
@pytest.mark.parametrize("form", ["toml", "yaml", "json"])
def test_case_08_a_number_that_is_not_finite(refused: Refused, form: str, value: str, key: str) -> None:
    outer, _, inner = key.partition(".")
    yaml, jsons = value.replace("nan", ".nan").replace("inf", ".inf"), value.replace("nan", "NaN")
    jsons = jsons.replace("inf", "Infinity")
    text = {
        "toml": toml_step(f"{key} = {value}"),
        "yaml": f'{YAML}steps: {{a: {{run: "true", {outer}: {f"{{{inner}: {yaml}}}" if inner else yaml}}}}}',
        "json": json_step(f'"{outer}": {f"""{{"{inner}": {jsons}}}""" if inner else jsons}'),
    }[form]
    problems = refused(text, "definition.range", form)

    assert problems[0]["path"] == f"steps.a.{key}"


@pytest.mark.parametrize(
    ("text", "form", "lines"),
    [
        (TOML + STEP + 'name = "y"\n', "toml", (2, 4)),
        (YAML + "name: y\n", "yaml", (2, 3)),
        ('{"dsl": "1",\n"name": "x",\n"name": "y"}', "json", (2, 3)),
        (f'{TOML}[steps.a]\nrun = "true"\n[steps.a]\nrun = "true"\n', "toml", (3, 5)),
        (f'{YAML}steps:\n  a: {{run: "true"}}\n  a: {{run: "false"}}\n', "yaml", (4, 5)),
    ],
)
def test_case_09_a_key_that_stands_twice(refused: Refused, text: str, form: str, lines: tuple[int, int]) -> None:
    message = refused(text, "definition.duplicate_key", form)[0]["message"]

    assert all(f"line {line}" in message for line in lines)


def test_case_10_words_and_numbers_of_yaml_1_1(refused: Refused, smf: Smf, folder: Path) -> None:
    (folder / "words.yaml").write_text(
        f"{YAML}description: on\nsteps:\n"
        '  no: {run: [echo, yes, off, y, "1.10"]}\n  on: {needs: [no], run: "true"}\n'
    )
    workflow = smf_library.load(folder / "words.yaml")

    assert [step.id for step in workflow.definition.steps] == ["no", "on"]
    assert workflow.definition.description == "on"
    assert smf("run", "words.yaml").code == 0
    for value in ("1.10", "010", "0x1F", "true"):  # numbers and booleans are no text, and are not taken for one
        problems = refused(f"{YAML}version: {value}\n{WHOLE['yaml'][len(YAML) :]}", "definition.type", "yaml")
        assert problems[0]["path"] == "version"


TAGS = ['!!python/object/apply:os.system ["true"]', "!!python/name:os.system", "!!python/object:os.x {}"]


@pytest.mark.parametrize("tag", [*TAGS, "!!binary aGk=", "!foo x", "!!str x", "! x", "!<tag:yaml.org,2002:int> 1"])
def test_case_11_tags(refused: Refused, tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "system", lambda _: pytest.fail("it was called"))
    refused(f"{YAML}description: {tag}\n", "definition.tag", "yaml")


def test_case_12_a_second_document_and_merge_keys(refused: Refused) -> None:
    refused(WHOLE["yaml"] + "---\nname: y\n", "definition.multiple", "yaml")
    refused(f'{YAML}steps: {{a: {{<<: {{run: "true"}}}}}}\n', "definition.merge", "yaml")


@pytest.mark.parametrize("form", ["toml", "yaml", "json"])
def test_case_13_encodings(refused: Refused, smf: Smf, folder: Path, form: str) -> None:
    text = WHOLE[form]
    (folder / f"marked.{form}").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert smf("validate", f"marked.{form}").code == 0

    bad = {
        "UTF-16 at byte 0": text.encode("utf-16"),
        "NUL byte at byte 1": text.encode("utf-16-le"),
        "UTF-8 at byte 3": b"#  \xe9\n" + text.encode(),
        "NUL byte at byte 5": text[:5].encode() + b"\0" + text[5:].encode(),
        "line feed at byte 4": text[:4].encode() + b"\r" + text[4:].encode(),
    }
    for what, data in bad.items():
        assert what in refused(data, "definition.encoding", form)[0]["message"]


def test_case_14_one_byte_too_many(refused: Refused, smf: Smf, folder: Path) -> None:
    text = WHOLE["toml"] + "#"
    (folder / "full.toml").write_text(text + "x" * ((1 << 20) - len(text)))
    assert smf("validate", "full.toml").code == 0
    refused(text + "x" * ((1 << 20) - len(text) + 1), "definition.too_large")


@posix
@pytest.mark.parametrize("what", ["/dev/zero", "device", "fifo", "folder", "dangling"])
def test_case_14_what_is_no_file(smf: Smf, folder: Path, what: str) -> None:
    path = folder / "odd.toml"
    makers: dict[str, Callable[[], object]] = {
        "device": lambda: path.symlink_to("/dev/zero"),
        "fifo": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "dangling": lambda: path.symlink_to("nowhere"),
    }
    makers.get(what, lambda: None)()
    refused_as(what if what == "/dev/zero" else "odd.toml", "definition.not_a_file", smf, folder, is_placed=False)


def test_case_15_a_field_that_is_misspelled(refused: Refused) -> None:
    problems = refused(toml_step('timout = "1s"'), "definition.unknown_field")

    assert (problems[0]["path"], problems[0]["hint"]) == ("steps.a.timout", "did you mean 'timeout'?")


def test_case_16_a_cycle_is_told_once_and_always_alike(refused: Refused) -> None:
    steps = {"a": "c", "b": "a", "c": "b"}
    text = TOML + "".join(f'steps.{step} = {{ run = "true", needs = ["{need}"] }}\n' for step, need in steps.items())
    problems = refused(text, "definition.cycle")

    assert [problem["message"].partition(": ")[2] for problem in problems] == ["a -> c -> b -> a"]
    assert refused(text, "definition.cycle") == problems


def test_case_17_needs_and_ids_that_are_not_what_they_seem(refused: Refused) -> None:
    missing = refused(toml_step('needs = ["zz"]'), "definition.unknown_step")
    itself = refused(toml_step('needs = ["a"]'), "definition.cycle")
    cases = refused(f'{TOML}steps.abc.run = "true"\nsteps.ABC.run = "true"\n', "definition.name")
    forms = refused(f'{TOML}steps."\u00e9".run = "true"\nsteps."e\u0301".run = "true"\n', "definition.name")

    assert "'zz'" in missing[0]["message"]
    assert "needs itself" in itself[0]["message"]
    assert "'ABC'" in cases[0]["message"]
    assert ["'\u00e9'" in forms[0]["message"], "e\u0301" in forms[1]["message"]] == [True, True]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../x", "'../x'"),
        ("a/b", "'a/b'"),
        ("", "''"),
        (".", "'.'"),
        ("__class__", "'__class__'"),
        ("x" * 300, "x…'"),
        ("a\u202eb", r"a\u202eb"),
        ("a\x1bb", r"a\x1bb"),
    ],
)
def test_case_18_ids_that_would_do_something(refused: Refused, smf: Smf, name: str, shown: str) -> None:
    problems = refused(f'{TOML}steps.{json.dumps(name)}.run = "true"\n', "definition.name")

    assert shown in problems[0]["message"]
    assert shown in smf("validate", "case.toml").err
    assert not {"\x1b", "\u202e"} & set(smf("validate", "case.toml").err)


def test_case_18_ids_that_no_machine_minds(smf: Smf, folder: Path) -> None:
    """Names of methods and attributes of a state machine library are names like all others."""
    names = ["to_completed", "state", "trigger", "may_start", "model", "machine"]
    (folder / "free.toml").write_text(TOML + "".join(f'steps.{name}.run = "true"\n' for name in names))

    assert smf("run", "free.toml").code == 0


def chain(length: int) -> str:
    steps = "".join(f's{n} = {{ call = "f", needs = ["s{n - 1}"] }}\n' for n in range(1, length))
    return f'{TOML}[steps]\ns0.call = "f"\n{steps}'


def test_case_19_too_many_steps(refused: Refused) -> None:
    refused(TOML + "".join(f'steps.s{n}.run="true"\n' for n in range(100_000)), "definition.too_large")
    refused(TOML + "".join(f"steps.s{n}.run='a'\n" for n in range(10_001)), "definition.too_many")


def test_case_19_a_million_edges(refused: Refused) -> None:
    def edges(steps: int, needs: int) -> str:
        lines = (
            f's{n}={{run="a",needs=[{",".join(f"{chr(34)}s{m}{chr(34)}" for m in range(max(0, n - needs), n))}]}}\n'
            for n in range(steps)
        )
        return f"{TOML}[steps]\n" + "".join(lines)

    refused(edges(1100, 1000), "definition.too_large")
    refused(edges(1200, 60), "definition.too_many")


SHALLOW = """
import sys
import statemachine_flow as smf
with smf.Engine("memory://", functions={"f": lambda: 1}) as engine:
    engine.run(smf.load('dsl = "1"\\nname = "warm"\\nsteps.a.call = "f"\\nsteps.b = { needs = ["a"], call = "f" }'))
    sys.setrecursionlimit(120)
    run = engine.run(smf.load(open(sys.argv[1]).read()))
    print(run.state, run.done)
"""


def test_case_19_a_chain_of_2000_steps_needs_no_stack(folder: Path) -> None:
    """Read, checked, planned and run by code that may go a hundred calls deep and no deeper."""
    (folder / "chain.toml").write_text(chain(2000))
    arguments = [sys.executable, "-c", SHALLOW, "chain.toml"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)

    assert (done.stdout, done.stderr) == ("completed (2000, 2000)\n", "")


DURATIONS = ["-1", "0", "true", '"5 minutes-ish"', '"-1s"', '"0s"', '""', '"1e9s"', '"99999999999999d"', '"1:30"']


@pytest.mark.parametrize("value", DURATIONS)
def test_case_20_what_is_no_duration(refused: Refused, value: str) -> None:
    for key in ("timeout", "retry.delay"):
        assert refused(toml_step(f"{key} = {value}"), "definition.range")[0]["path"] == f"steps.a.{key}"


def test_case_20_more_attempts_than_anybody_wants(refused: Refused) -> None:
    for value in (10**12, -1, 0):
        assert refused(toml_step(f"retry.max_attempts = {value}"), "definition.range")[0]["path"].endswith("attempts")


@posix
def test_case_21_documents_that_would_take_in_others(refused: Refused, smf: Smf, folder: Path) -> None:
    """There is no include; the file of a child workflow lies in the document's folder; nothing of others is shown."""
    secret = folder.parent / "outside.toml"
    secret.write_text("root:x:0:0 this is nobody's business")
    (folder / "link.toml").symlink_to(secret)
    for field in ("include", "extends"):
        for target in ("../../etc/passwd", "../outside.toml", "link.toml", "http://127.0.0.1:1/x.toml", "case.toml"):
            refused(f'{field} = "{target}"\n{WHOLE["toml"]}', "definition.unknown_field")
    for target in ("./../outside.toml", "../outside.toml", "/etc/passwd", "./link.toml"):
        (folder / "case.toml").write_text(f'{TOML}steps.a.workflow = "{target}"\n')
        for done in (smf("run", "case.toml"), smf("run", "case.toml", "--json"), smf("validate", "case.toml")):
            if done.code != 0:
                assert "nobody's business" not in done.out + done.err
                assert "root:" not in done.out + done.err
        assert smf("run", "case.toml", "--json").code == 3
    assert smf("list", "--all", "--json").json == {"runs": []}


@posix
def test_case_21_a_child_that_is_a_url_or_the_document_itself(smf: Smf, folder: Path) -> None:
    """No URL is opened; a workflow may start itself, and comes to the end of that soon."""
    (folder / "case.toml").write_text(f'{TOML}steps.a.workflow = "http://127.0.0.1:1/x.toml"\n')
    assert smf("run", "case.toml", "--json").json["error"]["kind"] == "definition.include"
    (folder / "case.toml").write_text(f'{TOML}steps.a.workflow = "./case.toml"\n')
    done = smf("run", "case.toml", "--run-id", "r")
    assert (done.code, "runs are nested more than 16 deep" in done.err) == (1, True)
    assert len(smf("list", "--all", "--json").json["runs"]) == 17


@pytest.mark.parametrize(
    "name",
    ["os:system", "builtins:eval", "subprocess:run", "os.path:join", "m:_private", "m:f.__globals__", "lambda: 1"],
)
def test_case_22_functions_that_nobody_allowed(smf: Smf, folder: Path, name: str) -> None:
    """Refused before a run exists; `validate` imports nothing, whatever the document names."""
    (folder / "m.py").write_text("raise SystemExit('imported')\n")
    (folder / "case.toml").write_text(f"{TOML}steps.a.call = {json.dumps(name)}\n")
    modules = set(sys.modules)
    smf("validate", "case.toml")
    smf("plan", "case.toml")
    assert "m" not in set(sys.modules) - modules
    done: Done = smf("run", "case.toml", "--json")

    assert (done.code, done.json["error"]["kind"]) == (3, "definition.callable")
    assert "m" not in sys.modules
    assert smf("list", "--all", "--json").json == {"runs": []}


def test_case_22_only_what_is_registered_or_matches(smf: Smf, folder: Path) -> None:
    (folder / "kit.py").write_text("def f(): return 1\n")
    workflow = f'{TOML}steps.a.call = "kit:f"\n'
    (folder / "case.toml").write_text(workflow)
    assert smf("run", "case.toml", "--allow", "other:*").code == 3
    with smf_library.Engine("memory://", allow=[]) as engine, pytest.raises(DefinitionError) as caught:
        engine.run(smf_library.load(workflow))
    assert caught.value.kind == "definition.callable"
    with smf_library.Engine("memory://", allow=[], functions={"kit:f": lambda: 2}) as engine:
        assert engine.run(smf_library.load(workflow)).steps["a"].output == 2


def test_case_23_a_file_that_changes_after_it_was_read(folder: Path) -> None:
    """The bytes are read once; what runs is what their hash says, whoever replaces the file meanwhile."""
    path, other = folder / "race.toml", folder / "other.toml"
    path.write_text(f'{TOML}steps.a.run = ["echo", "before"]\n')
    other.write_text(f'{TOML}steps.a.run = ["echo", "after"]\n')
    workflow = smf_library.load(path)
    digest = workflow.content_hash
    other.replace(path)
    with smf_library.Engine(folder / "runs.db") as engine:
        run = engine.run(workflow, run_id="r")
        assert (run.steps["a"].output["stdout"], run.definition_hash) == ("before\n", digest)
        assert engine.events("r")[0].data["definition"] == digest


def test_case_23_the_digest_is_shown(smf: Smf, folder: Path) -> None:
    (folder / "shown.toml").write_text(WHOLE["toml"])
    digest = smf_library.load(folder / "shown.toml").content_hash
    assert smf("validate", "shown.toml", "--json").json["files"][0]["hash"] == digest
    assert digest[:12] in smf("validate", "shown.toml").out
    smf("run", "shown.toml", "--run-id", "r")
    assert digest[:12] in smf("status", "r").out
    assert digest in smf("events", "r", "--json").out


@attrs.frozen
class Limit:
    """A limit, and what goes over it by one."""

    kind: str
    text: Callable[[int], str]
    most: int


LIMITS = {
    "depth": Limit(
        "definition.too_deep", lambda n: f"{TOML}{STEP}inputs.i.default = {'[' * (n - 3)}{']' * (n - 3)}\n", 64
    ),
    "values": Limit("definition.too_many", lambda n: f"{TOML}{STEP}inputs.i.default = [{'1,' * (n - 9)}]\n", 50_000),
    "steps": Limit("definition.too_many", lambda n: TOML + "".join(f"steps.s{k}.run='a'\n" for k in range(n)), 10_000),
}


@pytest.mark.parametrize("what", LIMITS)
def test_limits_of_documents_are_where_they_are_said_to_be(refused: Refused, what: str) -> None:
    """G22: one less is no question of size."""
    limit = LIMITS[what]
    refused(limit.text(limit.most + 1), limit.kind)
    assert not refusals(limit.text(limit.most)) & {"definition.too_deep", "definition.too_many"}


def refusals(text: str) -> set[str]:
    """The kinds of what is wrong with a document."""
    try:
        smf_library.load(text)
    except DefinitionError as error:
        return {problem.kind for problem in error.problems}
    return set()
