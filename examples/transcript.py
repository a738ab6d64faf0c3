"""Print the kill-and-resume transcript of README.md: real commands, run here and now. `--write` puts it there.

What differs from run to run (times, process ids) is shown as a fixed word, so that a test can compare the text.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SMF = [sys.executable, "-m", "statemachine_flow"]
README = HERE.parent / "README.md"
_PLACE = re.compile(r"(?<=<!-- transcript -->\n```console\n).*?(?=```\n<!-- end of transcript -->)", re.DOTALL)


def main() -> None:
    """Print the transcript, or write it into README.md."""
    text = transcript()
    if sys.argv[1:] == ["--write"]:
        README.write_text(_PLACE.sub(lambda _: text, README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(text, end="")


def written() -> str:
    """The transcript that README.md holds."""
    found = _PLACE.search(README.read_text(encoding="utf-8"))
    return found[0] if found else ""


def transcript() -> str:
    """Run `hello.toml`, kill it in its slow step, look at it, resume it, look again."""
    first = ["run", "hello.toml", "--run-id", "first", "--input", "who=reader"]
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder, "hello.toml")
        document.write_bytes((HERE / "hello.toml").read_bytes())
        parts = [f"$ smf {' '.join(first)}", _normal(_killed_when("greet completed", first, folder)), "Killed"]
        for words in ("list", "resume first", "events first"):
            parts += ["", f"$ smf {words}", _normal(_output(words.split(), folder))]
        return "\n".join(parts) + "\n"


def _environment() -> dict[str, str]:
    return {**os.environ, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "110"}


def _killed_when(line: str, arguments: list[str], folder: str) -> str:
    """What the command printed until it said `line`, at which moment it is killed."""
    process = subprocess.Popen(
        [*SMF, *arguments], cwd=folder, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    seen: list[str] = []
    with process:
        for text in process.stderr or ():
            seen.append(text)
            if line in text:
                process.kill()
                break
    return "".join(seen)


def _output(arguments: list[str], folder: str) -> str:
    done = subprocess.run(
        [*SMF, *arguments],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


def _normal(text: str) -> str:
    text = re.sub(r"\d{4}-\d\d-\d\d ", "", text)
    text = re.sub(r"\d\d:\d\d:\d\d", "12:00:00", text)
    text = re.sub(r"\d+\.\d+ s\b", "0.00 s", text)
    text = re.sub(r"\d+ s ago", "now", text)
    text = re.sub(r"process \d+ on [^\s,\"]+", "process 4711 on host", text)
    return text.rstrip()


if __name__ == "__main__":
    main()
