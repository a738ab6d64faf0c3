"""This version against another commit of it: the durable chain, one process each in turn, on the same disk.

    .venv/bin/python benchmarks/against.py COMMIT [--rounds N] [--disk FOLDER]

Only what both versions have is used. Which goes first changes from round to round.
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
STEPS = 1_000

CHAIN = """
import sys, time
from pathlib import Path
root, kind, folder = sys.argv[1:]
sys.path.insert(0, root)
import statemachine_flow as smf
from statemachine_flow.stores.sqlite import SqliteStore
assert smf.__file__.startswith(root)

async def body():
    return None

workflow = smf.Workflow("chain")
for number in range(STEPS):
    workflow.call(f"s{number}", body, needs=[f"s{number - 1}"] if number else [])
store = "memory://" if kind == "memory" else SqliteStore(Path(folder) / "runs.db", durability=kind)
with smf.Engine(store) as engine:
    began = time.perf_counter()
    run = engine.run(workflow, run_id="r")
    took = time.perf_counter() - began
assert run.state == "completed"
print(took)
"""


def seconds(root: Path, kind: str, disk: Path | None) -> float:
    """How long one chain takes in a process of its own."""
    with tempfile.TemporaryDirectory(dir=disk) as folder:
        code = CHAIN.replace("STEPS", str(STEPS))
        argv = [sys.executable, "-I", "-c", code, str(root), kind, folder]
        return float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print a line for each way to keep a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="what to compare with")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--disk", type=Path, default=ROOT, help="where stores are made")
    options = parser.parse_args()
    archive = subprocess.run(["git", "archive", options.commit], cwd=ROOT, capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory() as other:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(other, filter="data")
        for kind in ("memory", "process", "power"):
            took: dict[Path, list[float]] = {Path(other): [], ROOT: []}
            for number in range(options.rounds):
                for root in sorted(took, reverse=number % 2 == 0):
                    took[root].append(seconds(root, kind, options.disk))
            then, now = (sorted(times) for times in took.values())
            ratio = statistics.median(now) / statistics.median(then)
            said = [
                f"{statistics.median(times) * 1000:.0f} ({times[0] * 1000:.0f}-{times[-1] * 1000:.0f})"
                for times in (then, now)
            ]
            print(f"{kind:8} {options.commit[:8]} {said[0]:>16} ms   here {said[1]:>16} ms   {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
