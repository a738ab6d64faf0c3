"""Opening and reading a store runs nothing, imports nothing, and opens nothing but what belongs to the store (G21)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.stores.test_flips import fill

#: Reads a good store once, so that everything is imported, and then damaged ones under an audit hook.
READ = """
import asyncio, json, os, random, sys
from pathlib import Path
from tests.stores.test_flips import answers

folder, trials = Path(sys.argv[1]), int(sys.argv[2])
data = (folder / "runs.db").read_bytes()
target = folder / "damaged.db"
seen, watching = [], False

def hook(event, arguments):
    if not watching:
        return
    if event in ("import", "exec", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen") or event.startswith(
        ("socket.", "urllib.", "ctypes.", "shutil.", "pickle.")
    ):
        seen.append([event, repr(arguments)[:200]])
    elif event == "open" and not str(arguments[0]).startswith((str(folder), "/proc/")):
        seen.append([event, repr(arguments)[:200]])

async def main():
    global watching
    rng = random.Random(5)
    for trial in range(trials):
        mangled = bytearray(data)
        for _ in range(rng.choice((0, 1, 4, 40))):
            mangled[rng.randrange(len(mangled))] = rng.randrange(256)
        for suffix in ("-wal", "-shm"):
            Path(f"{target}{suffix}").unlink(missing_ok=True)
        target.write_bytes(mangled)
        target.chmod(0o600)
        watching = trial > 3
        await answers(target)
        watching = False
    print(json.dumps(seen))

sys.addaudithook(hook)
asyncio.run(main())
"""


def read_under_audit(folder: Path, trials: int) -> list[list[str]]:
    fill(folder / "runs.db", 4)
    argv = [sys.executable, "-c", READ, str(folder), str(trials)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=250, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    events: list[list[str]] = json.loads(done.stdout)
    return events


def test_reading_a_store_is_inert_whatever_it_holds(tmp_path: Path) -> None:
    assert read_under_audit(tmp_path, 100) == []
