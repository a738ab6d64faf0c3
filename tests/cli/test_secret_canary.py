"""A secret that a run is given, in whatever way its steps shout it, stands nowhere afterwards, byte by byte."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.cli.conftest import Smf
from tests.cli.test_boundary import posix

#: With all that is written otherwise in JSON, URLs, shells and Python.
TOKEN = 'c4n"ary/+tok=en \\zebra'
PASSWORD = "p@ss/wörd 'q' <yaks9>&"

DOCUMENT = """
dsl = "1"
name = "canary"
inputs.password = { secret = true }
on_failure.tell = { call = "shout:tell", with = { why = "${{ error.message }}" } }

[steps.command]
secrets = ["CANARY_TOKEN"]
env = { PW = "${{ inputs.password }}" }
run = 'printf "%s\\n" "$CANARY_TOKEN"; printf "%s\\n" "$PW" >&2; printf %s "$PW" | base64 >&2'
outputs = { first = "lines(stdout)[0]" }

[steps.breaks]
optional = true
secrets = ["CANARY_TOKEN"]
env = { PW = "${{ inputs.password }}" }
run = 'printf "%s\\n" "$CANARY_TOKEN" "$PW" >&2; printf %s "$PW"; exit 3'

[steps.flood]
secrets = ["CANARY_TOKEN"]
run = 'i=0; while [ $i -lt 60000 ]; do printf "line number %s is this one: %s\\n" $i "$CANARY_TOKEN"; i=$((i+1)); done'
outputs = { cut = "stdout_truncated" }

[steps.gives]
secrets = ["CANARY_TOKEN"]
call = "shout:give"
with = { password = "${{ inputs.password }}" }

[steps.raises]
optional = true
secrets = ["CANARY_TOKEN"]
call = "shout:fail"
with = { password = "${{ inputs.password }}" }

[steps.asks]
optional = true
secrets = ["CANARY_TOKEN"]
agent = "someone"
prompt = "Say hello with ${{ secrets.CANARY_TOKEN }}"

[steps.each]
for_each = { items = "${{ steps.gives.output.keys }}", key = "${{ item }}" }
needs = ["gives"]
secrets = ["CANARY_TOKEN"]
run = 'printf %s "$CANARY_TOKEN"'

[steps.approval]
needs = ["gives", "command"]
approval.prompt = "Go on with ${{ steps.gives.output.forms }} and ${{ steps.command.outputs.first }}?"

[steps.last]
needs = ["approval"]
secrets = ["CANARY_TOKEN"]
call = "shout:fail"
with = { password = "${{ inputs.password }}" }
"""
SHOUT = """
import base64, json, logging
from urllib.parse import quote, quote_plus
from statemachine_flow import StepContext

logging.basicConfig(level=logging.DEBUG)

def forms(*values):
    return [form for value in values for form in (
        value, json.dumps(value), json.dumps({"k": value}), quote(value, safe=""), quote_plus(value),
        base64.b64encode(value.encode()).decode(), base64.urlsafe_b64encode(b"user:" + value.encode()).decode(),
        repr(value), f"Bearer {value}!",
    )]

def give(password: str, context: StepContext):
    token = context.secrets["CANARY_TOKEN"]
    context.logger.debug("token %s of %r", token, {"password": password})
    context.logger.debug("all of them: " + " ".join(forms(token, password)))
    return {"forms": forms(token, password), token: password.encode(), "keys": ["a " + token, "b"]}

def fail(password: str, context: StepContext):
    token = context.secrets["CANARY_TOKEN"]
    try:
        raise KeyError(token)
    except KeyError as error:
        context.logger.exception("no luck with %s", password)
        raise ValueError(f"not with {forms(token, password)}") from error

def tell(why: str):
    return {"why": why}

async def answer(request):
    return f"you said: {request.prompt}"
"""


def forms(secret: str) -> Iterator[bytes]:
    """The secret as somebody would look for it."""
    raw = secret.encode()
    texts = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret, safe="")}
    texts |= {quote(secret), quote_plus(secret), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    yield raw
    yield from (text.encode() for text in texts)
    # The parts that give it away; long enough to stand nowhere by chance.
    yield from (b"zebra", b"yaks9", "wörd".encode(), b"w\\u00f6rd")


@pytest.fixture
def canary(process: Smf, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that shouted its secrets; what the commands about it printed is in `printed`."""
    monkeypatch.setenv("CANARY_TOKEN", TOKEN)
    monkeypatch.setenv("password", PASSWORD)
    (folder / "shout.py").write_text(SHOUT)
    (folder / "canary.toml").write_text(DOCUMENT)
    (folder / "inputs.json").write_text(json.dumps({"password": PASSWORD}))
    options = ["--db", "store/runs.db"]
    printed = folder / "printed"
    printed.mkdir()
    monkeypatch.delenv("password")
    expected = {"run": 8, "approve": 0, "resume": 1, "retry": 1}
    for number, words in enumerate(
        [
            ["run", "canary.toml", "--run-id", "r1", "--inputs", "inputs.json", "--agent", "someone=shout:answer"],
            ["status", "r1"],
            ["status", "r1", "--json"],
            ["approve", "r1", "approval", "--json"],
            ["resume", "r1", "--agent", "someone=shout:answer"],
            ["retry", "r1", "--json", "--debug", "--agent", "someone=shout:answer"],
            ["status", "r1"],
            ["status", "r1", "--json"],
            ["events", "r1"],
            ["events", "r1", "--json"],
            ["list", "--json"],
            ["list"],
            ["graph", "r1"],
            ["graph", "r1", "--json"],
            ["explain", "r1", "last"],
            ["explain", "r1", "last", "--json"],
        ]
    ):
        given = {"password": PASSWORD} if words[0] in ("resume", "retry") else {}
        done = process(*words, *options, env={**os.environ, **given})
        (printed / f"{number}.txt").write_text(done.out + done.err)
        assert done.code == expected.get(words[0], 0), (words, done)
    return folder


@posix
def test_a_secret_stands_nowhere(canary: Path) -> None:
    places = [path for name in ("store", "printed") for path in (canary / name).rglob("*") if path.is_file()]
    found = [
        (path.relative_to(canary), form)
        for path in places
        for form in [*forms(TOKEN), *forms(PASSWORD)]
        if form in path.read_bytes() or form.decode() in path.name
    ]

    assert found == []
    # What was searched is what was shouted: the place of the secret is there, and so is all around it.
    assert len(places) > 16
    assert b"***" in b"".join(path.read_bytes() for path in places if path.parent.name == "store")
    printed = (canary / "printed" / "0.txt").read_text()
    assert "DEBUG:statemachine_flow.step:token *** of" in printed
    assert "raises failed: ValueError: not with ['***'" in printed


def test_the_search_finds_what_is_there() -> None:
    for secret in (TOKEN, PASSWORD):
        for text in (secret, json.dumps([secret]), quote(secret), base64.b64encode(secret.encode()).decode()):
            assert any(form in text.encode() for form in forms(secret))
