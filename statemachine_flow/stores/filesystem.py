"""Which file system a store lies on: on one that other machines share, SQLite's shared memory and locks do not hold."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from statemachine_flow.errors import StoreError

#: Set to 1, it allows a store on a shared file system, which is then used without a log.
ALLOW: Final = "SMF_ALLOW_SHARED_FILESYSTEM"
#: Where Linux lists what is mounted; other systems have no such list, and are not asked.
MOUNTS: Path = Path("/proc/self/mountinfo")

_SHARED: Final = frozenset(
    {
        *("9p", "afs", "ceph", "cifs", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "prl_fs"),
        *("smb", "smb2", "smb3", "smbfs", "vboxsf"),
        *("fuse.gcsfuse", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "fuse.vmhgfs-fuse"),
    }
)


def kind_of_filesystem(folder: Path) -> str:
    """The name of the file system that `folder` lies on, such as `ext4`; "" where the system does not tell.

    Example:
        >>> kind_of_filesystem(Path("/")) != "nfs"
        True
    """
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    where, best, kind = f"{os.path.realpath(folder)}/", "", ""
    for line in lines:
        place, _, rest = line.partition(" - ")
        mounted = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place.split(" ")[4])
        # The last one that is mounted at a place hides those before it.
        if where.startswith(f"{mounted.rstrip('/')}/") and len(mounted) >= len(best):
            best, kind = mounted, rest.split(" ")[0]
    return kind


_kinds: Final[dict[tuple[int, Path], str]] = {}


def _kind_on(device: int, mounts: Path, folder: Path) -> str:
    """`kind_of_filesystem`, asked once for each device: a long list takes longer to read than a store to open."""
    kind = _kinds.get((device, mounts))
    if kind is None:
        kind = _kinds[device, mounts] = kind_of_filesystem(folder)
    return kind


def is_shared(folder: Path) -> bool:
    """Whether the store has to do without a log, which somebody allowed.

    Raises:
        StoreError: `store.filesystem`: nobody allowed it.
    """
    kind = _kind_on(folder.stat().st_dev, MOUNTS, folder)
    if kind not in _SHARED:
        return False
    if os.environ.get(ALLOW) != "1":
        raise StoreError(
            f"{folder} lies on a file system that machines share ({kind})",
            kind="store.filesystem",
            hint=f"keep the store on a disk of this machine, or set {ALLOW}=1 and let one machine alone use it",
        )
    return True
