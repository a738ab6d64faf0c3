"""Secrets are hidden in every form, in values, texts, streams and logs; what is no secret stays as it is."""

from __future__ import annotations

import base64
import datetime as dt
import io
import itertools
import json
import logging
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, strategies as st

from statemachine_flow.context import StepContext
from statemachine_flow.errors import StepError, UsageError
from statemachine_flow.executors.capture import Capture
from statemachine_flow.secrets import NO_SECRETS, Redactor
from statemachine_flow.stores.blobs import MemorySpill

CANARY = "kä'n\"a/ry+\\7f=& \n~é€x"
#: `*` is what secrets are replaced by.
SECRETS = st.text(st.characters(exclude_characters="*", exclude_categories=["Cs"]), min_size=4, max_size=24).filter(
    lambda text: len(text.strip()) >= 4
)
PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)

FORMS: Mapping[str, Callable[[str], str]] = {
    "raw": lambda secret: secret,
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON beyond ASCII": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "JSON with slashes": lambda secret: json.dumps(secret)[1:-1].replace("/", r"\/"),
    "JSON in JSON": lambda secret: json.dumps(json.dumps({"k": secret})),
    "URL": lambda secret: quote(secret, safe=""),
    "path of a URL": quote,
    "form": quote_plus,
    "small URL": lambda secret: re.sub("%..", lambda found: found[0].lower(), quote(secret, safe="")),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
    "repr": repr,
    "repr with both quotes": lambda secret: repr(secret + "'\""),
    "ascii": ascii,
    "repr of bytes": lambda secret: repr(secret.encode()),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [CANARY, "hunter22", "p/w+1?=%", 'it\'s "it"', "två-ö-ord"])
def test_a_secret_is_hidden_in_every_form(secret: str, form: str) -> None:
    written = FORMS[form](secret)
    redacted = Redactor([secret]).text(f"before {written} after")

    assert "***" in redacted
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")
    assert FORMS["raw"](secret) not in redacted
    assert len(redacted) <= len("before *** after") + 20  # quotes, and the keys of JSON


@given(SECRETS, st.binary(max_size=4), st.binary(max_size=4))
def test_base64_of_something_longer_tells_nothing_of_a_secret_in_it(secret: str, before: bytes, after: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        redacted = Redactor([secret]).text(encode(before + secret.encode() + after).decode())
        assert "***" in redacted
        # What is left holds the neighbours, and of the secret's first and last byte a few bits.
        assert len(redacted.replace("***", "").rstrip("=")) <= 16


@given(SECRETS, SECRETS, PLAIN, PLAIN)
def test_no_raw_secret_is_left_in_a_text(one: str, other: str, before: str, between: str) -> None:
    redacted = Redactor([one, other]).text(before + one + between + other + one)
    left = redacted.replace("***", "")

    if "*" not in before + between:
        assert all(secret not in part for secret in (one, other) for part in redacted.split("***"))
    assert len(left) <= len(before + between)


@given(st.lists(SECRETS, min_size=1, max_size=3), st.data())
def test_a_stream_is_redacted_like_a_text_wherever_its_chunks_are_cut(secrets: list[str], data: st.DataObject) -> None:
    forms = [form(secret) for secret in secrets for form in FORMS.values()]
    pieces = data.draw(st.lists(st.one_of(st.sampled_from(forms), st.sampled_from(secrets), PLAIN), max_size=8))
    whole = "".join(pieces).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    redactor = Redactor(secrets)
    stream = redactor.stream(block=data.draw(st.sampled_from([0, 1, 7, 1 << 16])))

    edges = [0, *cuts, len(whole)]
    out = [stream.feed(whole[start:end]) for start, end in itertools.pairwise(edges)]
    assert b"".join((*out, stream.finish())) == redactor.data(whole)


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_that_comes_byte_by_byte_gives_nothing_away_too_early(form: str) -> None:
    redactor = Redactor([CANARY])
    data = f"{FORMS[form](CANARY)}!".encode()
    longest = max(redactor._bytes, key=len)
    for whole in (data, b"x" + longest + b"y" + longest):
        stream = redactor.stream(block=0)
        out = b"".join(stream.feed(bytes([byte])) for byte in whole) + stream.finish()
        assert out == redactor.data(whole)


@given(st.integers(1, 40), st.lists(st.integers(1, 5), max_size=20))
def test_a_secret_that_overlaps_itself_becomes_one_mask_in_a_stream_too(count: int, sizes: list[int]) -> None:
    redactor = Redactor(["aaaa"])
    stream, out, data = redactor.stream(block=0), b"", b"a" * count
    for size in sizes:
        out += stream.feed(data[:size])
        data = data[size:]
    assert out + stream.feed(data) + stream.finish() == (b"***" if count >= 4 else b"a" * count)


def test_secrets_that_overlap_leave_no_end_of_either() -> None:
    assert Redactor(["abcdef", "defghi"]).text("xabcdefghix") == "x***x"


@given(st.lists(SECRETS, min_size=1, max_size=2))
def test_a_value_is_redacted_in_all_its_parts(secrets: list[str]) -> None:
    first = secrets[0]
    value = {first: [first, {"k": (first.encode(), frozenset({first}))}], "n": None, "yes": True}
    redacted = Redactor(secrets).value(value)

    assert redacted["n"] is None
    assert redacted["yes"] is True
    assert redacted["***"] == ["***", {"k": (b"***", frozenset({"***"}))}]


def test_numbers_and_ids_that_are_secrets_are_hidden_too() -> None:
    token = uuid.UUID(int=2**100 + 7)
    redactor = Redactor(["12345678", str(token), "2026-01-02"])
    value = [12345678, 1.5, Decimal("12345678.5"), token, dt.date(2026, 1, 2), 10**5000, 1234567]

    assert redactor.value(value) == ["***", 1.5, "***", "***", "***", 10**5000, 1234567]


def test_two_secret_keys_of_one_mapping_keep_both_values() -> None:
    redacted = Redactor(["secret-1", "secret-2"]).value({"secret-1": 1, "secret-2": 2})
    assert sorted(redacted.items()) == [("***", 1), ("***#2", 2)]


def test_without_secrets_everything_is_the_same_object() -> None:
    value = [["x"], object()]
    spill = MemorySpill({})
    assert NO_SECRETS.value(value) is value
    assert NO_SECRETS.spill(spill) is spill
    assert NO_SECRETS.stream().feed(b"as it is") == b"as it is"
    assert not NO_SECRETS


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value += [value, value]
    with pytest.raises(StepError) as caught:
        Redactor(["hunter22"]).value(value)
    assert caught.value.kind == "step.unserializable"


@pytest.mark.parametrize("secret", ["", "abc", "  ab  ", "\ud800abcd", 12345678, None])
def test_what_cannot_be_hidden_is_refused_without_being_shown(secret: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Redactor([secret])
    assert not secret or str(secret) not in str(caught.value)


def test_bytes_of_the_environment_that_are_no_text_are_hidden() -> None:
    secret = b"caf\xe9-token".decode("utf-8", "surrogateescape")
    assert Redactor([secret]).data(b"is caf\xe9-token!") == b"is ***!"


def test_a_line_end_that_a_shell_drops_does_not_show_the_rest() -> None:
    assert Redactor(["hunter22\n"]).text("is hunter22!") == "is ***!"


def test_a_spill_gets_no_secret_whole_or_in_parts() -> None:
    blobs: dict[str, bytes] = {}
    spill = Redactor([CANARY]).spill(MemorySpill(blobs))
    data = b"x" * 100_000 + CANARY.encode() + b"y" * 100_000
    for start in range(0, len(data), 1009):
        spill.write(data[start : start + 1009])
    assert blobs[spill.finish()] == b"x" * 100_000 + b"***" + b"y" * 100_000


def test_captured_text_is_redacted_before_it_is_cut() -> None:
    """Or the beginning of a secret would be left at the cut, and its end in the tail."""
    screen = Redactor(["hunter22"]).stream()
    capture = Capture(limit=8, spill_limit=0, open_spill=None, screen=screen)
    for byte in b"pw: hunter22, no more":
        capture.feed(bytes([byte]))
    kept = capture.finish()
    assert (kept.text, kept.truncated, kept.size, kept.tail) == ("pw: ***,", True, 16, "pw: ***, no more")


# --- logs


@pytest.fixture
def logged() -> Any:
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s %(run)s %(step)s %(attempt)s %(funcName)s"))
    logger = logging.getLogger("statemachine_flow.step")
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)  # which forgets what other tests made of it
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


def context_with(secret: str) -> StepContext:
    context = StepContext(run_id="r", workflow="w", step_id="s", attempt=1, path="g/s", secrets={"T": secret})
    context.hide(Redactor([secret]))
    return context


def fail_with(text: str) -> None:
    raise ValueError(text)


def test_what_a_step_logs_is_redacted(logged: logging.StreamHandler[io.StringIO]) -> None:
    context = context_with("hunter22")
    context.logger.info("token %s of %s", "hunter22", {"k": ["hunter22"]})
    context.logger.debug("not wanted")

    name = "test_what_a_step_logs_is_redacted"
    assert logged.stream.getvalue() == f"INFO token *** of {{'k': ['***']}} r g/s 1 {name}\n"


def test_a_logged_traceback_is_redacted_and_its_error_is_not_handed_on(
    logged: logging.StreamHandler[io.StringIO], caplog: pytest.LogCaptureFixture
) -> None:
    try:
        fail_with("hunter22")
    except ValueError:
        context_with("hunter22").logger.exception("it failed")

    assert "ValueError: ***" in logged.stream.getvalue()
    assert "hunter22" not in logged.stream.getvalue()
    assert caplog.records[-1].exc_info is None


def test_a_log_call_that_does_not_fit_its_arguments_shows_no_secret() -> None:
    script = (
        "import logging; from statemachine_flow.context import StepContext as C\n"
        "from statemachine_flow.secrets import Redactor as R\n"
        "logging.basicConfig(); c = C(run_id='r', workflow='w', step_id='s', attempt=1); c.hide(R(['hunter22']))\n"
        "c.logger.warning('one %s', 'hunter' + '22', 'two')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "Logging error" in done.stderr
    assert "hunter22" not in done.stderr


def test_a_context_shows_no_secret() -> None:
    context = context_with("hunter22")
    assert context.secrets["T"] == "hunter22"
    assert "hunter22" not in f"{context!r} {context.secrets!r} {context.secrets}"
    with pytest.raises(KeyError, match="does not name it"):
        context.secrets["OTHER"]
