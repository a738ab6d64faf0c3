"""Measure: `python3 dev.py bench [NAME ...] [--rounds N] [--disk FOLDER] [--json]`.

All figures are ratios within one run, or counts; see `benchmarks/README.md` for what they mean and what they were.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import attrs

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import engine, small
from benchmarks.measure import Figure, shown

BENCHMARKS: dict[str, Callable[[Path, int], list[Figure]]] = {
    "chain": engine.chain_against_bare_loop,
    "growth": engine.growth,
    "graphs": engine.graphs,
    "counts": engine.counts,
    "transitions": small.transitions,
    "start-up": small.start_up,
    "isolation": small.isolation,
    "documents": small.documents,
    "validate": small.validate,
}


def main() -> None:
    """Run the benchmarks that were named, or all."""
    parser = argparse.ArgumentParser(prog="dev.py bench", description="Measure, as ratios within one run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(BENCHMARKS)}; default all")
    parser.add_argument("--rounds", type=int, default=7, help="how often each pair is measured (default 7)")
    parser.add_argument("--disk", type=Path, default=Path.cwd(), help="a folder on the disk to measure (default here)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    figures: list[Figure] = []
    for name in options.names or BENCHMARKS:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        figures += BENCHMARKS[name](options.disk, options.rounds)
    if options.json:
        print(
            json.dumps(
                {
                    "machine": platform.platform(),
                    "python": platform.python_version(),
                    "figures": [attrs.asdict(f) for f in figures],
                }
            )
        )
    else:
        print(f"{platform.platform()}, Python {platform.python_version()}\n")
        print(shown(figures))


if __name__ == "__main__":
    main()
