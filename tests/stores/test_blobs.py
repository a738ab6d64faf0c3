"""The folder of large outputs when the system refuses: which error it is, and that no temporary file stays."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from statemachine_flow.errors import StoreError
from statemachine_flow.executors.process import Command, run_command
from statemachine_flow.stores import blobs as blobs_module
from statemachine_flow.stores.blobs import BlobFolder, FolderSpill

posix = pytest.mark.skipif(sys.platform == "win32", reason="limits, modes and commands of POSIX")

#: Writes one blob while no file may become larger than 1000 bytes, and tells what came of it.
LIMITED = """
import json, resource, sys
from pathlib import Path
from statemachine_flow.errors import StoreError
from statemachine_flow.stores.blobs import BlobFolder

folder, size = Path(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
spill = BlobFolder(folder).open()
call = "write"
try:
    spill.write(b"x" * size)
    call = "finish"
    spill.finish()
    call = ""
except StoreError as error:
    left = [entry.name for entry in folder.iterdir()]
    spill.discard()
    print(json.dumps([call, error.kind, str(error), left]))
else:
    print(json.dumps([call, "", "", [entry.name for entry in folder.iterdir()]]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


def left(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def limited(folder: Path, size: int) -> tuple[str, str, str, list[str]]:
    program = [sys.executable, "-W", "error", "-c", LIMITED, str(folder), str(size)]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    call, kind, message, names = json.loads(done.stdout)
    return call, kind, message, names


@posix
@pytest.mark.parametrize(("size", "call"), [(100_000, "write"), (2000, "finish")])
def test_case_57_a_file_that_may_not_grow_is_a_full_store_and_leaves_nothing(
    folder: Path, size: int, call: str
) -> None:
    """The small blob fits into the buffer, so its `finish` is the first to meet the limit."""
    failed_call, kind, message, names = limited(folder, size)

    assert (failed_call, kind, names) == (call, "store.full", [])
    assert message.startswith(f"{folder}: {os.strerror(errno.EFBIG)}; ")


@posix
def test_a_blob_below_the_limit_is_kept(folder: Path) -> None:
    """That the limit of the test above is what made it fail."""
    assert limited(folder, 1000) == ("", "", "", [hashlib.sha256(b"x" * 1000).hexdigest()])


@posix
def test_case_57_a_command_whose_output_fills_the_store_ends_with_the_stores_error(folder: Path) -> None:
    """The child limits itself, then runs an endless command that spills into the folder."""
    program = """
import asyncio, resource, sys
from pathlib import Path
from statemachine_flow.errors import StoreError
from statemachine_flow.executors.process import Command, run_command
from statemachine_flow.stores.blobs import BlobFolder

resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
command = Command(argv=("yes",), cwd="/", env={"PATH": "/usr/bin:/bin"})
try:
    asyncio.run(run_command(command, capture_limit=1000, open_spill=BlobFolder(Path(sys.argv[1])).open))
except StoreError as error:
    print(error.kind)
"""
    done = subprocess.run([sys.executable, "-c", program, str(folder)], check=True, capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("store.full\n", "")
    assert left(folder) == []


@posix
def test_a_commands_long_output_comes_back_from_the_folder(folder: Path) -> None:
    blobs = BlobFolder(folder)
    command = Command(argv=("seq", "20000"), cwd="/", env={"PATH": os.defpath})

    result = asyncio.run(run_command(command, capture_limit=10, open_spill=blobs.open))

    assert result.stdout_spill is not None
    assert blobs.read(result.stdout_spill) == b"".join(b"%d\n" % number for number in range(1, 20001))
    assert left(folder) == [result.stdout_spill]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, "store.full"),
        (errno.EDQUOT, "store.full"),
        (errno.EFBIG, "store.full"),
        (errno.EIO, "store.io"),
        (errno.EROFS, "store.io"),
    ],
)
def test_a_disk_that_refuses_to_sync_leaves_nothing(
    folder: Path, number: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    spill = BlobFolder(folder).open()
    spill.write(b"x")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError) as caught:
        spill.finish()

    spill.discard()
    assert caught.value.kind == kind
    assert caught.value.message == f"{folder}: {os.strerror(number)}"
    assert isinstance(caught.value.__cause__, OSError)
    assert left(folder) == []


def test_a_name_that_is_taken_by_a_folder_is_an_error_and_leaves_nothing_else(folder: Path) -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    (folder / digest).mkdir(parents=True)
    spill = BlobFolder(folder).open()
    spill.write(b"x")
    with pytest.raises(StoreError) as caught:
        spill.finish()

    spill.discard()
    assert caught.value.kind == "store.io"
    assert left(folder) == [digest]


def test_an_error_that_is_not_the_systems_leaves_nothing_either(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as an interrupt while the disk is slow."""

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    spill = BlobFolder(folder).open()
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        spill.finish()

    assert left(folder) == []


def _below_a_file(folder: Path) -> None:
    folder.parent.rmdir()
    folder.parent.write_text("not a folder")


def _below_nothing(folder: Path) -> None:
    folder.parent.rmdir()


def _read_only(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    folder.mkdir(mode=0o500)


@pytest.mark.parametrize("spoil", [_below_a_file, _below_nothing, pytest.param(_read_only, marks=posix)])
def test_a_folder_that_cannot_be_used_is_an_error_that_names_it(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    folder = tmp_path / "parent" / "blobs"
    folder.parent.mkdir()
    spoil(folder)
    with pytest.raises(StoreError) as caught:
        BlobFolder(folder).open()

    assert caught.value.kind == "store.io"
    assert caught.value.message.startswith(f"{folder}: ")


@posix
def test_running_out_of_descriptors_is_an_error_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreError) as caught:
        BlobFolder(folder).open()
    monkeypatch.undo()

    assert caught.value.kind == "store.io"
    assert left(folder) == []


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_a_discarded_blob_leaves_nothing_however_often_it_is_said(folder: Path, size: int) -> None:
    spill = BlobFolder(folder).open()
    spill.write(b"x" * size)
    spill.discard()
    spill.discard()

    assert left(folder) == []


def test_discarding_a_finished_blob_keeps_it(folder: Path) -> None:
    blobs = BlobFolder(folder)
    spill = blobs.open()
    spill.write(b"x")
    digest = spill.finish()
    spill.discard()

    assert blobs.read(digest) == b"x"
    assert left(folder) == [digest]


@pytest.mark.parametrize("size", [1, 200_000])
def test_what_a_blob_was_given_can_be_had_after_a_call_failed(
    folder: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spill = BlobFolder(folder).open()
    for piece in (b"a" * size, b"b" * size):
        spill.write(piece)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError):
        spill.finish()

    assert spill.taken() == b"a" * size + b"b" * size
    spill.discard()
    assert left(folder) == []


@posix
def test_what_did_not_fit_into_the_file_can_be_had_as_well(folder: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from statemachine_flow.errors import StoreError
from statemachine_flow.stores.blobs import BlobFolder

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
spill = BlobFolder(Path(sys.argv[1])).open()
pieces = [bytes([number]) * 30_000 for number in range(4)] + [b"x" * 200_000]
given = b""
for piece in pieces:
    given += piece
    try:
        spill.write(piece)
    except StoreError:
        print(len(given), spill.taken() == given)
        break
spill.discard()
"""
    done = subprocess.run([sys.executable, "-c", program, str(folder)], check=True, capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("320000 True\n", "")
    assert left(folder) == []


def written(blobs: BlobFolder, data: bytes = b"x") -> tuple[FolderSpill, str]:
    spill = blobs.open()
    spill.write(data)
    return spill, spill.finish()


@posix
def test_a_blob_that_nothing_names_can_be_taken_back(folder: Path) -> None:
    spill, _ = written(BlobFolder(folder))
    for _ in range(2):
        spill.take_back()

    assert left(folder) == []


@pytest.mark.parametrize("mine", ["first", "second"])
def test_a_blob_that_somebody_else_has_as_well_is_not_taken_back(folder: Path, mine: str) -> None:
    spills = {which: written(BlobFolder(folder)) for which in ("first", "second")}
    spill, digest = spills[mine]
    spill.take_back()

    assert BlobFolder(folder).read(digest) == b"x"


@posix
def test_a_folder_that_another_holds_for_long_is_busy_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl  # noqa: PLC0415 - of POSIX

    monkeypatch.setattr(blobs_module, "_TRIES", 2)
    spill = BlobFolder(folder).open()
    spill.write(b"x")
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(StoreError) as caught:
        spill.finish()
    os.close(handle)

    assert (caught.value.kind, spill.taken(), left(folder)) == ("store.busy", b"x", [])
    spill.discard()


def test_discarding_is_quiet_when_the_file_is_gone_already(folder: Path) -> None:
    spill = BlobFolder(folder).open()
    for entry in folder.iterdir():
        entry.unlink()

    spill.discard()


@pytest.mark.parametrize("damage", [b"", b"y", b"xx"])
def test_case_66_a_blob_that_is_not_what_its_name_says_is_corruption(folder: Path, damage: bytes) -> None:
    blobs = BlobFolder(folder)
    spill = blobs.open()
    spill.write(b"x")
    digest = spill.finish()
    (folder / digest).write_bytes(damage)
    with pytest.raises(StoreError) as caught:
        blobs.read(digest)

    assert caught.value.kind == "store.corrupt"
    assert digest in caught.value.message


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of POSIX")
@pytest.mark.parametrize(
    "put", [os.mkfifo, os.mkdir, lambda place: place.symlink_to(__file__)], ids=["pipe", "folder", "link"]
)
def test_what_is_no_plain_file_is_no_blob_and_is_not_waited_for(folder: Path, put: Callable[[Path], None]) -> None:
    blobs = BlobFolder(folder)
    spill = blobs.open()
    spill.write(Path(__file__).read_bytes())
    digest = spill.finish()
    (folder / digest).unlink()
    put(folder / digest)
    with pytest.raises(StoreError, match="missing or damaged") as caught:
        blobs.read(digest)

    assert caught.value.kind == "store.corrupt"


def test_a_file_in_the_place_of_the_folder_is_told_of(folder: Path) -> None:
    folder.write_text("no folder")
    with pytest.raises(StoreError, match=folder.name):
        BlobFolder(folder).digests()


@pytest.mark.skipif(os.name == "nt", reason="links and modes of POSIX")
@pytest.mark.parametrize("what", ["a link", "a dangling link", "a file"])
def test_case_54_a_folder_that_is_none_of_our_own_is_refused(tmp_path: Path, what: str) -> None:
    folder, elsewhere = tmp_path / "runs.db.blobs", tmp_path / "elsewhere"
    if what == "a file":
        folder.write_bytes(b"theirs")
    else:
        folder.symlink_to(elsewhere)
    if what == "a link":
        elsewhere.mkdir()
    with pytest.raises(StoreError) as caught:
        BlobFolder(folder).open()

    assert caught.value.kind == "store.unsafe_path"
    assert not elsewhere.exists() or list(elsewhere.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_case_55_a_folder_that_others_may_read_is_made_private(tmp_path: Path) -> None:
    folder = tmp_path / "runs.db.blobs"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    spill = BlobFolder(folder).open()
    spill.write(b"x")
    spill.finish()

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
