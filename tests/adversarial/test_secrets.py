"""G19 and G20: what is secret stands in no file, stream, export, log or traceback, whichever way it was said."""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from statemachine_flow import Engine, Workflow, load
from statemachine_flow.errors import InputError, SmfError, UsageError
from tests.cli.conftest import Smf, Start
from tests.engine.harness import add

posix = pytest.mark.skipif(sys.platform == "win32", reason="commands, FIFOs and kills")

#: One secret per way in, with all that is written otherwise in JSON, URLs, shells and base64.
ENV = 'c4n"ary/env+tok=en \\zebra'
GIVEN = "c4n'ary&input <yaks9> wörd"
OTHER = "another-canary-quokka7"
TELLING = (b"zebra", b"yaks9", b"quokka7")


def forms(secret: str) -> Iterator[bytes]:
    """The secret as somebody would look for it."""
    raw = secret.encode()
    texts = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret, safe="")}
    texts |= {quote(secret), quote_plus(secret), repr(secret)[1:-1]}
    texts |= {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode(), raw.hex()}
    # At each of the three places in a longer text where its base64 differs; the ends depend on what stands beside it.
    texts |= {base64.b64encode(b"x" * shift + raw).decode()[4:-4] for shift in (1, 2)}
    yield from (text.encode() for text in texts - {raw.hex()})
    yield raw


def hits(folder: Path, *secrets: str) -> list[tuple[str, bytes]]:
    """Where in the files below a folder, their names included, a secret stands."""
    wanted = [*(form for secret in secrets for form in forms(secret)), *TELLING]
    found = []
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        found += [(str(path.relative_to(folder)), form) for form in wanted if form in data or form in os.fsencode(path)]
    return found


DOCUMENT = """
dsl = "1"
name = "canary"
inputs.given = { secret = true }

[steps.split]
secrets = ["CANARY_ENV"]
call = "shout:split"

[steps.asks]
optional = true
needs = ["split"]
agent = "someone"
secrets = ["CANARY_ENV"]
prompt = "Use ${{ secrets.CANARY_ENV }} and ${{ inputs.given }}"

[steps.pieces]
secrets = ["CANARY_ENV"]
env = { GIVEN = "${{ inputs.given }}" }
run = '''
half=$(printf %s "$CANARY_ENV" | cut -c1-9); rest=$(printf %s "$CANARY_ENV" | cut -c10-)
printf %s "$half"; sleep 0.2; printf '%s\\n' "$rest"
printf %s "$GIVEN" | base64 >&2
cd "${TMPDIR:-/tmp}" && pwd >/dev/null
i=0; while [ $i -lt 30000 ]; do printf '%s number %s is a long line of text: ' "$CANARY_ENV" $i; i=$((i+1)); done'''

[steps.raises]
optional = true
secrets = ["CANARY_ENV"]
call = "shout:fail"
with = { given = "${{ inputs.given }}" }

[steps.ear]
wait = { event = "go" }

[steps.gate]
approval = { prompt = "Go on?", form = { note = "string" } }

[steps.kid]
optional = true
with = { handed = "${{ inputs.given }}" }
[steps.kid.workflow]
dsl = "1"
name = "kid"
inputs.handed = { secret = true }
steps.a = { env = { H = "${{ inputs.handed }}" }, run = 'printf %s "$H"; printf %s "$H" >&2; exit 3' }

[steps.last]
needs = ["ear", "gate"]
secrets = ["CANARY_ENV"]
call = "shout:fail"
with = { given = "${{ inputs.given }}" }
"""
SHOUT = """
import logging, sys, tempfile, os
from statemachine_flow import StepContext
logging.basicConfig(level=logging.DEBUG)

def split(context: StepContext):
    token = context.secrets["CANARY_ENV"]
    context.logger.info("it is %s, %r", token, [token.encode()])
    return {"whole": token, "list": list(token), "halves": token[:5] + token[5:], token: {"k": [token]}}

def fail(given: str, context: StepContext):
    local = context.secrets["CANARY_ENV"] + given
    try:
        raise KeyError(local)
    except KeyError as error:
        context.logger.exception("no luck")
        raise RuntimeError("with", given, {"token": context.secrets["CANARY_ENV"]}) from error

async def answer(request):
    raise ValueError("I will not say " + request.prompt)
"""
DB = ["--db", "made/runs.db"]
#: Commands that only read, which are called without a process of their own.
READING = ("status", "events", "graph", "explain", "list")


@pytest.fixture
def stage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the documents; all that is made lies in `made`."""
    made = folder / "made"
    (made / "tmp").mkdir(parents=True)
    (folder / "canary.toml").write_text(DOCUMENT)
    (folder / "shout.py").write_text(SHOUT)
    monkeypatch.setenv("CANARY_ENV", ENV)
    monkeypatch.setenv("given", GIVEN)
    monkeypatch.setenv("TMPDIR", str(made / "tmp"))
    return folder


def lines(stage: Path) -> list[tuple[list[str], int]]:
    """Everything that is said to a run and asked of it, with the exit codes."""
    said = f"because of {ENV} and {GIVEN}"
    payload = json.dumps({ENV: [GIVEN, {"url": f"https://x/?q={quote(ENV, safe='')}"}]})
    inputs = json.dumps({"given": GIVEN})
    agent = ["--agent", "someone=shout:answer"]
    bare = [
        (["run", "canary.toml", "--run-id", "r1", "--inputs", inputs, *agent, "--debug"], 8),
        (["signal", "r1", "go", "--payload", payload], 0),
        (["approve", "r1", "gate", "--form", f"note={said}", "--by", said, "--reason", said], 0),
        (["resume", "r1", *agent, "--debug"], 1),
        (["cancel", "r1", "--reason", said], 0),
        (["run", "canary.toml", "--run-id", "r2", "--inputs", inputs, *agent], 8),
        (["pause", "r2", "--reason", said], 0),
        (["checkpoint", "r2", "--label", "here", "--reason", said, "--by", said], 0),
        (["restore", "r2@here", "--run-id", "r3", "--no-start", "--reason", said, "--by", said], 0),
        (["fork", "r2", "--run-id", "r4", "--no-start", "--reason", said, "--by", said], 0),
        (["rerun", "r2", "--from", "pieces", "--run-id", "r5", "--no-start", "--reason", said, "--by", said], 0),
        *((["events", run], 0) for run in ("r3", "r4", "r5")),
        (["cancel", "r2", "--reason", said], 0),
        (["retry", "r1", "--debug"], 5),
        *((words, 0) for run in ("r1", "r2") for words in (["status", run], ["events", run], ["graph", run])),
        (["explain", "r1", "last"], 0),
        (["explain", "r1", "gate"], 0),
        (["explain", "r1", "asks"], 0),
        (["list", "--all"], 0),
        (["graph", "r1", "-o", "made/picture.svg"], 0),
        (["status", "r1.kid"], 0),
        (["events", "r1.kid"], 0),
    ]
    shown = [([*words, "--json"], code) for words, code in bare if words[0] in ("status", "events", "explain", "list")]
    return [([*words, *DB], code) for words, code in bare + shown]


@posix
def test_g19_nothing_secret_is_in_what_is_made_or_shown(stage: Path, process: Smf, smf: Smf) -> None:
    """Every file (the database, its log, blobs, temporary ones, exports), every stream, tracebacks of `--debug`."""
    for number, (words, code) in enumerate(lines(stage)):
        done = (smf if words[0] in READING else process)(*words)
        (stage / "made" / f"{number}.txt").write_text(done.out + done.err)
        assert done.code == code, (words, done.err[-2000:])

    assert hits(stage / "made", ENV, GIVEN) == []
    everything = b"".join(path.read_bytes() for path in (stage / "made").rglob("*") if path.is_file())
    assert everything.count(b"***") > 30  # the places are there, and what stands around them
    assert len(list((stage / "made" / "runs.db.blobs").rglob("*"))) > 0


@posix
def test_g19_what_is_asked_of_a_run_waits_without_its_secrets(stage: Path, process: Smf, start: Start) -> None:
    """In the line of requests, and in the log before the owner takes it: it is stopped meanwhile, and dies."""
    document = (
        'dsl = "1"\nname = "line"\ninputs.given = { secret = true }\n'
        'steps.a = { secrets = ["CANARY_ENV"], call = "deaf:block" }\nsteps.b.wait.event = "go"\n'
    )
    (stage / "line.toml").write_text(document)
    owner = start("run", "line.toml", "--run-id", "r1", "--inputs", json.dumps({"given": GIVEN}), *DB)
    (stage / "began").open().close()
    said = f"because of {ENV} and {GIVEN}"
    payload = json.dumps([ENV, {GIVEN: base64.b64encode(ENV.encode()).decode()}])
    owner.send_signal(19 if sys.platform == "linux" else 17)  # SIGSTOP: it answers nothing
    for words in (
        ["signal", "r1", "go", "--payload", payload],
        ["pause", "r1", "--reason", said, "--timeout", "0.1s"],
        ["cancel", "r1", "--reason", said, "--timeout", "0.1s"],
    ):
        done = process(*words, *DB)
        assert done.code in (0, 5), done
        assert hits(stage / "made", ENV, GIVEN) == []
    owner.kill()
    owner.communicate(timeout=60)

    assert hits(stage / "made", ENV, GIVEN) == []
    assert b"because of *** and ***" in b"".join(
        path.read_bytes() for path in (stage / "made").iterdir() if path.is_file()
    )


def test_g19_a_signal_takes_no_secret_into_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run that is worked on here, and of one that nobody works on: a secret of any step, given or inherited."""
    monkeypatch.setenv("CANARY_ENV", ENV)
    document = (
        'dsl = "1"\nname = "ear"\nsteps.hear.wait.event = "go"\n'
        'steps.use = { needs = ["hear"], secrets = ["CANARY_ENV", "OTHER"], run = ["true"] }\n'
    )
    for run in ("here", "nobody"):
        with Engine(tmp_path / "runs.db", secrets={"OTHER": OTHER}) as engine:
            engine.run(load(document), run_id=run)
            if run == "here":
                engine.signal(run, "go", {"a": [ENV, OTHER]}, by=OTHER)
                assert engine.wait(run).steps["hear"].output == {"a": ["***", "***"]}
                continue
        with Engine(tmp_path / "runs.db", secrets={"OTHER": OTHER}) as engine:
            engine.signal(run, "go", {"a": [ENV, OTHER]}, by=OTHER)
            assert hits(tmp_path, ENV, OTHER) == []
            assert engine.resume(run).steps["hear"].output == {"a": ["***", "***"]}
    assert hits(tmp_path, ENV, OTHER) == []


@pytest.mark.parametrize("given", [f"with {ENV} inside", {"deep": [GIVEN]}, base64.b64encode(ENV.encode()).decode()])
def test_g19_a_secret_in_an_input_that_would_be_stored_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: object
) -> None:
    monkeypatch.setenv("CANARY_ENV", ENV)
    document = (
        'dsl = "1"\nname = "plain"\ninputs.pw = { secret = true }\ninputs.plain = { type = "object" }\n'
        'inputs.text = {}\nsteps.use = { secrets = ["CANARY_ENV"], run = ["true"] }\n'
    )
    inputs = {"pw": GIVEN, "plain" if isinstance(given, dict) else "text": given}
    inputs = {"plain": {}, "text": "nothing", **inputs}
    with Engine(tmp_path / "runs.db") as engine:
        with pytest.raises(InputError) as caught:
            engine.run(load(document), inputs, run_id="r")
        assert engine.run(load(document), {"pw": GIVEN, "plain": {}, "text": "none"}, run_id="r").state == "completed"

    assert [problem.kind for problem in caught.value.problems] == ["input.value"]
    assert ENV not in str(caught.value)
    assert GIVEN not in str(caught.value)
    assert hits(tmp_path, ENV, GIVEN) == []


def test_g19_a_secret_that_could_not_be_hidden_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A declared variable with a value too short to be one keeps nobody from telling the run something."""
    monkeypatch.setenv("CANARY_ENV", "ab")
    with Engine(tmp_path / "runs.db") as engine:
        engine.run(
            load(
                'dsl = "1"\nname = "ear"\nsteps.hear.wait.event = "go"\n'
                'steps.use = { needs = ["hear"], secrets = ["CANARY_ENV"], run = ["true"] }\n'
            ),
            run_id="r",
        )
        engine.signal("r", "go", "abc")
        run = engine.wait("r")
        assert (run.steps["hear"].output, run.steps["use"].error.kind) == ("abc", "step.secret")  # type: ignore[union-attr]  # it failed


def test_g19_reprs_and_errors_of_the_library_show_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine("memory://", secrets={"TOKEN": OTHER}) as engine:
        shown = [repr(engine), repr(engine._engine._core.secrets), str(vars(engine).keys())]
    for value in ("ab", ""):
        with pytest.raises(UsageError) as caught:
            Engine("memory://", secrets={"TOKEN": value})
        shown.append(str(caught.value))
    assert all(OTHER not in text for text in shown)
    assert "TOKEN" in shown[-1]


class Ear(logging.Handler):
    """Keeps all that is logged, as text and with the values that came along."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        extra = {name: value for name, value in vars(record).items() if name not in ("msg", "args")}
        self.heard.append((record.levelno, f"{record.getMessage()} {record.exc_text} {extra!r}"))


PROMPT = "a prompt of several words, which is nobody else's business: gnu-4711"
ANSWER = "an answer that goes on for a while: okapi-4712"


def test_g20_what_is_never_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At DEBUG: no environment, no tokens; at INFO and above: no prompts and no outputs; no locals in tracebacks."""
    monkeypatch.setenv("UNRELATED_CANARY", "zorilla-4713")
    monkeypatch.setenv("CANARY_ENV", ENV)
    ear, root = Ear(), logging.getLogger()
    before, level = list(root.handlers), root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)

    def fails(prompt: str) -> None:
        local = prompt + ANSWER
        raise ValueError(len(local))

    try:
        workflow = Workflow("logs")
        workflow.agent("ask", "someone", PROMPT)
        add(workflow, "fails", fails, with_={"prompt": PROMPT}, optional=True)
        workflow.run("env", ["env"], secrets=["CANARY_ENV"])
        workflow.run("tells", ["sh", "-c", "echo okapi-4712; exit 3"], optional=True)
        with Engine(tmp_path / "runs.db", agents={"someone": lambda _: ANSWER}) as engine:
            assert engine.run(workflow, run_id="r").state == "completed"
            with pytest.raises(SmfError):
                engine.get("gone")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    everything = "\n".join(text for _, text in ear.heard)
    loud = "\n".join(text for at, text in ear.heard if at >= logging.INFO)

    assert all(word not in everything for word in ("zorilla-4713", "zebra", ENV))
    assert all(word not in loud for word in ("gnu-4711", "okapi-4712"))


def test_g20_tracebacks_of_debug_have_no_locals(smf: Smf, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNRELATED_CANARY", "zorilla-4713")
    done = smf("run", "good.toml", "--input", "who=okapi-4712", "--input", "nobody=1", "--debug")

    assert done.code == 3
    assert "Traceback" in done.err
    assert all(word not in done.err for word in ("zorilla-4713", "okapi-4712"))
