"""A folder whose documents, steps, names and paths say everything that could drive a terminal; and a walk over it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from statemachine_flow.cli.app import COMMANDS

#: Markup of terminals and of rich, OSC 8 and 52, erasing, C1, overrides of direction, backspace, NUL, DEL.
HOSTILE: Final = (
    "[/red][link=http://x]\x1b]8;;http://x\x07\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\u202egnp.exe\u2066\r\x08\x7f\u0085\u2028"
)
#: The part of it that a file's name may hold.
NAME: Final = "d\x1b[2J\u202e\x9b31m\x07"
#: What no human-readable output may hold: C0 but line ends and tabs, DEL, C1, overrides and marks of direction.
CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
#: What `smf` and rich themselves send to a terminal: colours, and drawing the table anew.
OURS: Final = re.compile(
    r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-9]*[A-G]|\x1b\[2K|\r(?=\n)|\r(?=\x1b\[)|\r(?=\x1b\[2K)"
)

_CODE: Final = f"""
import json
TEXT = json.loads({json.dumps(json.dumps(HOSTILE))})
def fail(v=None):
    raise ValueError(TEXT)
def give(v=None):
    return {{"text": TEXT, "keys": [TEXT, "plain"], TEXT: 1}}
def answer(request):
    return TEXT
"""


def prepare(folder: Path) -> Path:
    """Write the documents; gives the folder they lie in, which has a hostile name as well."""
    place = folder / NAME
    place.mkdir()
    (folder / "loud.py").write_text(_CODE)
    text = HOSTILE
    (place / "loud.json").write_text(
        json.dumps(
            {
                "dsl": "1",
                "name": "loud",
                "description": text,
                "inputs": {"s": {"default": text, "description": text}},
                "on_failure": {"tell": {"run": ["printf", "%s", "${{ error.message }}"]}},
                "steps": {
                    "ok": {"call": "loud:give", "description": text, "with": {"v": text}},
                    "each": {
                        "needs": ["ok"],
                        "for_each": {"items": "${{ steps.ok.output.keys }}", "key": "${{ item }}", "max_failures": 2},
                        "call": "loud:fail",
                    },
                    "shell": {"run": ["sh", "-c", "printf '%s' \"$0\" >&2; exit 3", text], "optional": True},
                    "nothing": {"run": [f"no{NAME}"], "optional": True},
                    "agent": {"agent": "someone", "prompt": text},
                    "skipped": {"when": "inputs.s == 'no'", "call": "loud:give"},
                    "gate": {"needs": ["ok"], "approval": {"prompt": text}},
                    "ear": {"wait": {"event": text, "key": text}},
                    "last": {"needs": ["gate", "ear"], "call": "loud:fail"},
                },
                "outputs": {"o": "${{ steps.ok.output }}"},
            }
        )
    )
    other = json.loads((place / "loud.json").read_text())
    other["steps"]["ok"]["with"]["v"] = text[::-1]
    other["name"] = "louder"
    (place / "other.json").write_text(json.dumps(other))
    (place / "bad.toml").write_text(
        f'dsl = "1"\nname = "x"\n["\u202e{NAME[0]}"]\n# \u202e\x9b31m\nsteps.a.run = 3 \x9b31m\n'
    )
    (place / "plain.toml").write_text('dsl = "1"\nname = "x"\n# \u202e \x9b31m \u2028\nsteps.a.run = ["true"]\n')
    return place


def commands(place: Path) -> list[list[str]]:
    """A command line of every kind, each in the forms in which people see it, in an order in which they work."""
    document, other, agent = str(place / "loud.json"), str(place / "other.json"), ["--agent", "someone=loud:answer"]
    bad, plain, db = str(place / "bad.toml"), str(place / "plain.toml"), ["--db", str(place / f"{NAME}.db")]
    lines = [
        ["validate", document, "--proof"],
        ["validate", bad],
        ["validate", bad, "--format", "github"],
        ["validate", str(place / f"{NAME}.toml")],
        ["plan", document, "--input", f"s={HOSTILE}"],
        ["diff", document, other],
        ["schema"],
        ["fmt", plain],
        ["fmt", "--check", "--diff", document],
        ["convert", document, "-", "--to", "yaml"],
        ["convert", plain, "-", "--to", "json"],
        ["convert", document, str(place / "made.yaml")],
        ["convert", document, str(place / "made.yaml")],
        ["graph", document],
        ["graph", document, "--format", "dot"],
        ["graph", document, "--format", "mermaid"],
        ["graph", document, "--format", "svg"],
        ["graph", document, "-o", str(place / "picture.svg")],
        ["run", document, "--run-id", "r1", *agent, *db],
        ["list", *db],
        ["status", "r1", *db],
        ["signal", "r1", HOSTILE, "--key", HOSTILE, "--payload", json.dumps(HOSTILE), *db],
        ["approve", "r1", "gate", "--by", HOSTILE, "--reason", HOSTILE, *db],
        ["approve", "r1", HOSTILE, *db],
        ["reject", "r1", "gate", "--by", HOSTILE, "--reason", HOSTILE, *db],
        ["resolve", "r1", HOSTILE, "--as", "failed", *db],
        ["resume", "r1", *agent, *db],
        ["retry", "r1", "--step", HOSTILE, *agent, *db],
        ["retry", "r1", *agent, *db],
        ["status", "r1", *db],
        ["events", "r1", *db],
        ["explain", "r1", "ok", *db],
        ["explain", "r1", f"each[{HOSTILE}]", *db],
        ["explain", "r1", "each", *db],
        ["explain", "r1", "last", *db],
        ["explain", HOSTILE],
        ["explain", "definition.cycle"],
        ["explain"],
        ["graph", "r1", *db],
        ["diff", document, other, "--run", "r1", *db],
        ["pause", "r1", "--reason", HOSTILE, *db],
        ["cancel", "r1", "--reason", HOSTILE, *db],
        ["list", "--all", *db],
        ["status", HOSTILE, *db],
        ["list", "--state", HOSTILE],
        ["list", "--db", str(place / HOSTILE.replace("/", ""))],
        ["run", document, "--input", f"{HOSTILE}=1"],
        ["run", document, "--debug", "--input", f"{HOSTILE}=1"],
        ["run", document, "--run-id", HOSTILE],
        [HOSTILE],
        ["--help"],
    ]
    named = {words[0] for words in lines}
    # A command that nobody thought of here is at least told what is hostile.
    others = [name for name in COMMANDS if name not in named]
    return [*lines, *([name, *words, *db] for name in others for words in ([], [HOSTILE], ["r1"]))]


def controls(shown: str) -> list[str]:
    """What stands in an output that could drive a terminal, beside what `smf` itself sends there."""
    return CONTROL.findall(OURS.sub("", shown))


Show = Callable[[list[str]], str]
