"""G21: reading runs no code, imports nothing, starts nothing and opens nothing but what it was given."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fuzz.seeds import ROOT


def trapped(inputs: int, seed: int, *, before: str = "") -> list[str]:
    """What was caught while so many inputs were read, and at the end how many those were."""
    code = f"{before}\nfrom tests.fuzz.trap import main\nmain({inputs}, {seed})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_reading_hostile_bytes_opens_no_door() -> None:
    (count,) = trapped(1_500, 1)
    assert int(count.split()[0]) >= 1_500


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_reading_a_hundred_thousand_hostile_inputs_opens_no_door() -> None:
    (count,) = trapped(100_000, 2)
    assert int(count.split()[0]) >= 100_000


def test_a_reader_that_looks_something_up_is_caught() -> None:
    """What the trap is worth: a reader of values that imports what an extension names, and one that opens a file."""
    reader = """
import contextlib

from statemachine_flow import values

def read(tag, data):
    if tag == 99:
        open("/dev/null").close()
        with contextlib.suppress(Exception):
            __import__("antigravity_" + bytes(data).decode())
    return values._read_ext(tag, data)

values._decoder = values.msgspec.msgpack.Decoder(ext_hook=read)
"""
    caught = " ".join(trapped(800, 1, before=reader))
    assert "open /dev/null" in caught
    assert "import antigravity_" in caught
