"""`smf verify`, `smf backup`, `smf doctor`, and what the other commands make of a store that is not as it should be."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from tests.cli.conftest import Smf

V1 = Path(__file__).parents[1] / "stores" / "fixtures" / "v1.db"


@pytest.fixture
def store(folder: Path) -> Path:
    return folder / ".smf" / "runs.db"


def damage(store: Path, run: str) -> None:
    with contextlib.closing(apsw.Connection(str(store))) as connection:
        connection.execute("UPDATE runs SET message = 'other' WHERE id = ?", (run,))


def lose_tail(store: Path) -> None:
    """The log is deleted after the death of its process."""
    Path(f"{store}-wal").unlink()


def test_a_store_that_is_as_it_was_written(smf: Smf, run_of: Callable[..., str]) -> None:
    run = run_of("good.toml")
    whole, one = smf("verify"), smf("verify", run, "--json")

    assert (whole.code, whole.out.startswith("ok 1 run, ")) == (0, True)
    assert (one.code, one.json["ok"], one.json["runs"], one.json["damages"]) == (0, True, 1, [])


def test_damage_is_shown_and_is_exit_6(smf: Smf, run_of: Callable[..., str], store: Path) -> None:
    good, bad = run_of("good.toml"), run_of("good.toml")
    damage(store, bad)
    shown, data = smf("verify"), smf("verify", "--json")

    assert (shown.code, data.code) == (6, 6)
    assert f"run {bad}: " in shown.out
    assert [one["run"] for one in data.json["damages"]] == [bad]
    assert smf("verify", good).code == 0


def test_a_list_shows_the_others_beside_a_damaged_run(smf: Smf, run_of: Callable[..., str], store: Path) -> None:
    good, bad = run_of("good.toml"), run_of("bad.toml")
    damage(store, bad)
    shown, data = smf("list", "--all"), smf("list", "--state", "completed", "--json")

    assert (shown.code, data.code) == (6, 6)
    assert good in shown.out
    assert shown.err.startswith("error[store.corrupt]: run " + bad)
    assert [(row["run"], row["damage"] is None, row["state"]) for row in data.json["runs"]] == [
        (bad, False, None),
        (good, True, "completed"),
    ]
    assert smf("status", good).code == 0
    assert smf("status", bad).code == 6


LARGE = """
dsl = "1"
name = "large"
[steps]
small = { run = "true" }
large = { run = "head -c 1048576 /dev/zero | tr '\\\\0' '\\\\n'", needs = ["small"] }
"""


@pytest.mark.skipif(os.name == "nt", reason="commands of POSIX")
@pytest.mark.parametrize("how", ["altered", "missing"])
def test_case_66_a_damaged_output_is_shown_at_its_step_and_is_exit_6(
    smf: Smf, folder: Path, store: Path, how: str
) -> None:
    (folder / "large.toml").write_text(LARGE)
    run = smf("run", "large.toml", "--json").json["run"]
    assert smf("status", run).code == 0
    (blob,) = store.with_name("runs.db.blobs").iterdir()
    blob.write_bytes(b"other") if how == "altered" else blob.unlink()
    shown, data, verified = smf("status", run), smf("status", run, "--json"), smf("verify", run)
    (line,) = [line for line in shown.out.splitlines() if line.startswith("large ")]

    assert (shown.code, data.code, verified.code) == (6, 6, 6)
    assert f"its output is damaged: blob {blob.name} is missing or damaged" in line
    assert shown.err.startswith(f"error[store.corrupt]: step large of run {run}: blob {blob.name}")
    assert [name for name, step in data.json["steps"].items() if step["unreadable"]] == ["large"]
    assert data.err == ""


def test_a_backup_is_a_store(smf: Smf, run_of: Callable[..., str], folder: Path) -> None:
    run = run_of("good.toml")
    made, again = smf("backup", "copy.db", "--json"), smf("backup", "copy.db")

    assert made.json == {"backup": str(folder / "copy.db"), "bytes": (folder / "copy.db").stat().st_size}
    assert (again.code, again.err.startswith("error[store.exists]: ")) == (6, True)
    assert smf("status", run, "--db", "copy.db").code == 0
    assert smf("verify", "--db", "copy.db").code == 0
    assert "was verified" in smf("backup", "other.db").out


def test_the_doctor_knows_the_store(smf: Smf, run_of: Callable[..., str], store: Path) -> None:
    run_of("good.toml")
    facts, shown = smf("doctor", "--json").json, smf("doctor").out

    assert (facts["store"], facts["schema"], facts["journal_mode"], facts["runs"]) == (str(store), 2, "wal", 1)
    assert (facts["damaged_rows"], facts["owners"], facts["synchronous"]) == (0, [], "full")
    assert facts["free_bytes"] > 0
    assert facts["sqlite"] == apsw.sqlite_lib_version()
    assert set(facts["modes"].values()) == {"0600"} or os.name == "nt"
    assert all(name in shown for name in facts)


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_case_55_the_doctor_warns_of_files_that_others_may_read_and_who_writes_makes_them_private(
    smf: Smf, run_of: Callable[..., str], store: Path
) -> None:
    run = run_of("good.toml")
    assert "warning" not in smf("doctor").out
    store.chmod(0o644)
    warned = smf("doctor").out
    facts = smf("doctor", "--json").json
    assert smf("status", run).code == 0

    assert facts["exposed"] == ["runs.db"]
    assert "others may read or change runs.db; `chmod go-rwx` takes that away" in warned
    assert store.stat().st_mode & 0o777 == 0o644  # who reads changes nothing
    run_of("good.toml")
    assert smf("doctor", "--json").json["exposed"] == []


def test_a_lost_tail_is_told_by_every_command_and_can_be_accepted(
    smf: Smf, run_of: Callable[..., str], store: Path
) -> None:
    first = run_of("good.toml")
    with contextlib.closing(apsw.Connection(str(store))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    lost = run_of("good.toml")
    lose_tail(store)
    for arguments in (["list"], ["status", lost], ["resume", lost], ["run", "good.toml"], ["verify"], ["doctor"]):
        done = smf(*arguments)
        assert (done.code, done.err.startswith("error[store.lost_tail]: ")) == (6, True), arguments
        assert "smf verify --accept-loss" in done.err
    accepted = smf("verify", "--accept-loss")

    assert (accepted.code, accepted.out.startswith("ok 1 run, ")) == (0, True)
    assert smf("status", first).code == 0
    assert smf("status", lost).code == 4
    assert smf("run", "good.toml").code == 0


def test_accepting_a_loss_makes_no_store(smf: Smf, folder: Path) -> None:
    assert smf("verify", "--accept-loss").code == 6
    assert not (folder / ".smf").exists()


def test_an_old_store_is_told_by_readers_and_brought_up_to_date_by_writers(smf: Smf, folder: Path) -> None:
    for name in ("a.db", "b.db"):
        shutil.copy(V1, folder / name)
        (folder / name).chmod(0o600)
    read = smf("list", "--db", "a.db")
    migrated = smf("doctor", "--migrate", "--db", "a.db", "--json")

    assert (read.code, read.err.startswith("error[store.needs_migration]: ")) == (6, True)
    assert (migrated.code, migrated.json["schema"]) == (0, 2)
    assert (folder / "a.db.v1.bak").exists()
    assert len(json.loads(smf("list", "--all", "--db", "a.db", "--json").out)["runs"]) == 6
    assert smf("cancel", "paused", "--db", "b.db").code == 0
    assert (folder / "b.db.v1.bak").exists()


def test_reading_commands_write_nothing(smf: Smf, run_of: Callable[..., str], store: Path, folder: Path) -> None:
    run = run_of("good.toml")
    files = [store, Path(f"{store}-wal"), Path(f"{store}-mark")]
    before = [file.read_bytes() for file in files]
    commands = (
        ["list", "--all"],
        ["status", run],
        ["events", run],
        ["graph", run],
        ["explain", run, "greet"],
        ["verify"],
        ["doctor"],
        ["backup", "copy.db"],
    )

    assert [smf(*arguments).code for arguments in commands] == [0] * len(commands)
    assert [file.read_bytes() for file in files] == before
