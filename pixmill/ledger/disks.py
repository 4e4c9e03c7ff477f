"""Which kind of disk a folder is on: SQLite's write-ahead log needs shared memory and locks that network disks lack.

A ledger on one works until two machines write to it, and then loses payments: <https://www.sqlite.org/wal.html>.
"""

from pathlib import Path

_MOUNTS = Path("/proc/mounts")
_NETWORK = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ceph",
        "lustre",
        "beegfs",
        "glusterfs",
        "fuse.glusterfs",
    }
    | {"fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse"}
)


def network_disk(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return the type of the network disk that `folder` is on, `None` where it is on no such disk or nobody knows."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux
        return None
    # Spaces and the like stand there as octal numbers. Of two mounts on one place the later one is seen.
    fields = [line.split()[1:3] for line in lines if len(line.split()) > 2]
    places = [(Path(place.encode().decode("unicode_escape")), kind) for place, kind in fields]
    inside = folder.resolve()
    above = [
        (len(place.parts), at, kind)
        for at, (place, kind) in enumerate(places)
        if inside.is_relative_to(place)
    ]
    kind = max(above, default=(0, 0, ""))[2]
    return kind if kind in _NETWORK else None
