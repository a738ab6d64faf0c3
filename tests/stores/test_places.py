"""Where a store may lie, whose its files are, and that they stay where they are while it is used."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from statemachine_flow.errors import StoreError
from statemachine_flow.stores import filesystem
from statemachine_flow.stores.base import Beat, RunFilter, Write
from statemachine_flow.stores.presence import Presence, identity_of
from statemachine_flow.stores.sqlite import SqliteStore
from tests.stores.test_contract import OTHER, Author

FIXTURES = Path(__file__).parent / "fixtures"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="modes and links of POSIX")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def refused(path: Path, *, readonly: bool = False) -> StoreError:
    with pytest.raises(StoreError) as caught:
        SqliteStore(path, readonly=readonly)
    return caught.value


# --- what is unsafe


def _hard_link(path: Path) -> None:
    SqliteStore(path.with_name("other.db")).close()
    os.link(path.with_name("other.db"), path)


def _world_writable(path: Path) -> None:
    path.parent.chmod(0o777)


def _somebody_elses(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    SqliteStore(path).close()
    os.chown(path, 12345, -1)


def _linked_log(path: Path) -> None:
    SqliteStore(path).close()
    Path(f"{path}-wal").unlink(missing_ok=True)
    Path(f"{path}-wal").symlink_to(path.with_name("target"))


def _linked_mark(path: Path) -> None:
    SqliteStore(path).close()
    Path(f"{path}-mark").symlink_to(path.with_name("target"))


UNSAFE: list[Callable[[Path], None]] = [_hard_link, _world_writable, _somebody_elses, _linked_log, _linked_mark]


@pytest.mark.parametrize("make", UNSAFE)
@pytest.mark.parametrize("readonly", [False, True])
def test_case_54_an_unsafe_place_is_refused_and_nothing_is_made(
    path: Path, make: Callable[[Path], None], readonly: bool
) -> None:
    make(path)
    before = sorted(entry.name for entry in path.parent.iterdir())

    assert refused(path, readonly=readonly).kind == "store.unsafe_path"
    assert sorted(entry.name for entry in path.parent.iterdir()) == before


def test_a_folder_like_tmp_is_safe(path: Path) -> None:
    """Everybody may make files there, and nobody may touch those of others."""
    path.parent.chmod(0o1777)
    SqliteStore(path).close()


def test_case_55_a_store_that_others_could_read_is_made_private(path: Path) -> None:
    store = SqliteStore(path)
    store.commit([Author("r").new()])
    store.close()
    files = [path, *(Path(f"{path}{suffix}") for suffix in ("-wal", "-shm", "-mark"))]
    for file in files:
        file.chmod(0o644)
    SqliteStore(path).close()

    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


@pytest.mark.parametrize("umask", [0, 0o777])
def test_case_55_the_mark_is_private_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = SqliteStore(path)
        store.commit([Author("r").new()])
        store.close()
    finally:
        os.umask(before)

    assert stat.S_IMODE(Path(f"{path}-mark").stat().st_mode) == 0o600


# --- file systems


def _mounted(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = f"22 27 0:21 / / rw - ext4 /dev/vda rw\n30 22 0:50 / {tmp_path.resolve()} rw shared:1 - {kind} srv:/x rw\n"
    (tmp_path / "mounts").write_text(lines)
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "mounts")


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"])
def test_case_56_a_file_system_that_machines_share_is_refused(
    path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _mounted(path.parent, kind, monkeypatch)
    error = refused(path)

    assert error.kind == "store.filesystem"
    assert kind in error.message
    assert filesystem.ALLOW in str(error)


def test_case_56_it_can_be_allowed_and_then_there_is_no_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _mounted(path.parent, "nfs4", monkeypatch)
    monkeypatch.setenv(filesystem.ALLOW, "1")
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    store.commit([author.note(synced=False)])

    assert [store._database.pragma(name) for name in ("journal_mode", "synchronous")] == ["delete", 3]
    assert not Path(f"{path}-wal").exists()
    store.close()


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "overlay", "btrfs"])
def test_file_systems_of_one_machine_are_fine(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _mounted(path.parent, kind, monkeypatch)
    SqliteStore(path).close()


def test_the_innermost_mount_counts_and_names_may_hold_blanks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mounts").write_text(
        "1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / /mnt/my\\040share rw - nfs s:/ rw\n"
        "3 2 0:3 / /mnt/my\\040share/disk rw - xfs /dev/b rw\n4 1 0:4 / /mnt/my rw - cifs s rw\n"
    )
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "mounts")
    kinds = {
        place: filesystem.kind_of_filesystem(Path(place))
        for place in ("/srv", "/mnt/my share", "/mnt/my share/a", "/mnt/my share/disk/a", "/mnt/mys", "/mnt/my/x")
    }

    assert list(kinds.values()) == ["ext4", "nfs", "nfs", "xfs", "ext4", "cifs"]


def test_a_system_without_a_list_of_mounts_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "none")
    assert filesystem.kind_of_filesystem(tmp_path) == ""


# --- files that are moved while they are used


def _replace(path: Path) -> None:
    path.with_name("new.db").write_bytes(path.read_bytes())
    path.with_name("new.db").replace(path)


GONE: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "renamed": lambda path: path.rename(path.with_name("elsewhere.db")),
    "replaced": _replace,
    "log deleted": lambda path: Path(f"{path}-wal").unlink(),
    "log replaced": lambda path: _replace(Path(f"{path}-wal")),
    "shared memory deleted": lambda path: Path(f"{path}-shm").unlink(),
    "shared memory replaced": lambda path: _replace(Path(f"{path}-shm")),
    "folder renamed": lambda path: path.parent.rename(path.parent.with_name("moved")),
}


def unsynced(write: Write) -> Write:
    write.synced = False
    return write


WRITES: dict[str, Callable[[SqliteStore, Author], object]] = {
    "a commit": lambda store, author: store.commit([author.note()]),
    "a commit that is not synced": lambda store, author: store.commit([unsynced(author.note())]),
    "a sign of life": lambda store, _: store.beat(Beat("n", 1, 1, 1.0), {}),
    "a claim": lambda store, _: store.claim("r", 1, OTHER),
    "a request": lambda store, _: store.request("r", "pause", "", "", 1),
    "a transaction": lambda store, author: store.transact(lambda _: None, author.note),
    "a release": lambda store, _: store.release("r", 1),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("how", GONE)
def test_case_59_nothing_is_acknowledged_that_others_will_not_find(tmp_path: Path, how: str, write: str) -> None:
    path = tmp_path / "folder" / "runs.db"
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    GONE[how](path)
    with pytest.raises(StoreError) as caught:
        WRITES[write](store, author)

    assert caught.value.kind == "store.moved"
    for use in (lambda: store.row("r"), lambda: store.claim("r", 1, OTHER), store.version):
        with pytest.raises(StoreError) as again:
            use()
        assert again.value.kind == "store.moved"
    store.close()


@pytest.mark.parametrize("how", GONE)
def test_one_look_at_the_folder_is_enough_once_it_has_come_to_rest(tmp_path: Path, how: str) -> None:
    path = tmp_path / "folder" / "runs.db"
    path.parent.mkdir()
    files = [str(path), f"{path}-wal", f"{path}-shm"]
    for file in files:
        Path(file).write_bytes(b"x")
    presence = Presence(str(path.parent), [(file, identity_of(file)) for file in files])
    while presence.looks_at_files():  # as long as the folder's last change is too near for the next to be told from it
        assert presence.missing() is None
    (path.parent / "beside").write_bytes(b"x")
    assert presence.missing() is None
    assert presence.looks_at_files()
    while presence.looks_at_files():
        assert presence.missing() is None
    GONE[how](path)

    assert presence.missing() in files


def test_what_another_process_was_told_outlives_a_lost_shared_memory(tmp_path: Path) -> None:
    """With shared memory of its own, the first process would write over what the second one committed."""
    path = tmp_path / "runs.db"
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    Path(f"{path}-shm").unlink()
    code = """if True:
        import sys
        from statemachine_flow.stores.sqlite import SqliteStore
        from tests.stores.test_contract import Author
        SqliteStore(sys.argv[1]).commit([Author("other").new()])
    """
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=Path(__file__).parents[2])
    with pytest.raises(StoreError) as caught:
        store.commit([author.note()])

    assert caught.value.kind == "store.moved"
    store.close()
    again = SqliteStore(path)
    assert [row.id for row in again.rows(RunFilter())] == ["other", "r"]
    again.close()


#: A stranger that opens and closes the file with SQLite as it comes, which removes the log if no lock is in its way.
STRANGER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM runs").fetchall()
connection.close()
"""


def test_case_107_a_callable_that_opens_the_file_itself_is_noticed_within_one_commit(path: Path) -> None:
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    told = author.fold.seq
    with path.open("rb") as file:  # such as to hash or to copy it: closing drops every lock of this process
        file.read()
    subprocess.run([sys.executable, "-c", STRANGER, str(path)], check=True, timeout=60)
    assert not Path(f"{path}-wal").exists()
    with pytest.raises(StoreError) as caught:
        store.commit([author.note()])
    assert caught.value.kind == "store.moved"
    store.close()

    again = SqliteStore(path)
    row = again.row("r")
    assert row is not None
    assert row.seq >= told
    again.close()


def test_a_stranger_alone_does_no_harm(path: Path) -> None:
    """Nobody dropped our locks, so the log stays; that is why the case above had to be made."""
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    subprocess.run([sys.executable, "-c", STRANGER, str(path)], check=True, timeout=60)

    assert store.commit([author.note()]) == []
    store.close()


def test_readers_and_writers_of_one_process_do_not_take_each_others_locks(path: Path) -> None:
    """Looking at the header of a file that is in use must not drop the locks on it."""
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    for _ in range(3):
        SqliteStore(path, readonly=True).close()
        SqliteStore(path).close()
    subprocess.run([sys.executable, "-c", STRANGER, str(path)], check=True, timeout=60)

    assert store.commit([author.note()]) == []
    store.close()


# --- readers


def test_a_reader_disturbs_no_writer(path: Path) -> None:
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    reader = SqliteStore(path, readonly=True)
    for count in range(3):
        assert store.commit([author.note()]) == []
        assert [row.seq for row in reader.rows(RunFilter())] == [3 + count]
        assert len(reader.records("r")) == 3 + count
    reader.close()
    assert store.commit([author.note()]) == []
    store.close()


def test_case_74_a_reader_that_holds_a_moment_keeps_no_writer_waiting(path: Path) -> None:
    store, author = SqliteStore(path), Author("r")
    store.commit([author.new()])
    with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM journal").fetchall()
        for _ in range(50):
            assert store.commit([author.note()]) == []
        assert reader.execute("SELECT count(*) FROM journal").fetchall() == [(2,)]
        assert store.health()["log_bytes"] > 50 * 4096
    store.close()


# --- where nothing can be written


def _without_log(path: Path) -> None:
    SqliteStore(path).close()
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.pragma("wal_checkpoint(truncate)")
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _without_memory(path: Path) -> None:
    SqliteStore(path).close()
    Path(f"{path}-shm").unlink()


def _old(path: Path) -> None:
    shutil.copy(FIXTURES / "v1.db", path)


def _old_without_log_mode(path: Path) -> None:
    _old(path)
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.pragma("journal_mode", "delete")


#: What is there, and the kinds of errors of who wants to read it, and to write.
UNWRITABLE = [
    (_without_log, "store.io", "store.io"),
    (_without_memory, "store.io", "store.io"),
    (_old, "store.needs_migration", "store.io"),
    (_old_without_log_mode, "store.needs_migration", "store.io"),
]

#: Tells the kinds and hints of both, as somebody who may not write what is not theirs to write.
OPEN = """
import json, sys
from statemachine_flow.errors import StoreError
from statemachine_flow.stores.sqlite import SqliteStore

said = []
for readonly in (True, False):
    try:
        SqliteStore(sys.argv[1], readonly=readonly)
    except StoreError as error:
        said.append([error.kind, str(error)])
print(json.dumps(said))
"""


@pytest.mark.parametrize(("make", "to_read", "to_write"), UNWRITABLE)
def test_case_53_a_store_where_nothing_can_be_written_says_what_to_do(
    path: Path, make: Callable[[Path], None], to_read: str, to_write: str
) -> None:
    make(path)
    argv = [sys.executable, "-c", OPEN, str(path)]
    if os.geteuid() == 0:
        # Root may write anywhere, unless it gives that up.
        if (tool := shutil.which("setpriv")) is None:
            pytest.skip("root may write anywhere")
        none = "-dac_override,-dac_read_search"
        argv = [tool, "--bounding-set", none, "--inh-caps", none, *argv]
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    for file in path.parent.iterdir():
        file.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    finally:
        path.parent.chmod(0o700)

    said = json.loads(done.stdout)
    assert [kind for kind, _ in said] == [to_read, to_write]
    assert all(
        "copy it, with the files named after it, into a folder that can be written to" in text for _, text in said
    )
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
