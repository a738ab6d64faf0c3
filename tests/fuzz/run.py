"""Fuzzing guided by coverage: `python -m tests.fuzz.run TARGET SECONDS`, where `atheris` is installed.

It ends with status 0 if nothing was found; else the input that was found lies in the current directory, and belongs
into `tests/fuzz/corpus/TARGET` together with the fix.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path


def main(target: str, seconds: str) -> None:
    """Fuzz one target for some time, beginning with its seeds."""
    import atheris  # noqa: PLC0415 - an extra, which most who collect this file have not

    with atheris.instrument_imports(include=["statemachine_flow"]):
        from tests.fuzz.seeds import seeds  # noqa: PLC0415 - what is to be watched is imported inside
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - as above
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(seeds(target)):
            Path(folder, f"{number:04}").write_bytes(data)
        options = [f"-max_total_time={seconds}", "-max_len=65536", "-rss_limit_mb=2048", "-timeout=20", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *options, folder], TARGETS[target])
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
