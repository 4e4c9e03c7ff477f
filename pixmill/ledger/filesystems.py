"""Which kind of disk a folder is on: SQLite's write-ahead log needs shared memory and locks that
network disks lack.

A ledger on one works until two machines write to it, and then loses payments:
<https://www.sqlite.org/wal.html>.
"""

from pathlib import Path

_MOUNTS = Path("/proc/mounts")
_SERVERS = """nfs nfs4 cifs smb2 smb3 smbfs smbnetfs afs coda ncpfs davfs davfs2 curlftpfs sshfs
gvfsd-fuse rclone http https"""
_CLUSTERS = """ceph ceph-fuse lustre beegfs glusterfs gpfs ocfs2 gfs gfs2 orangefs pvfs2 panfs wekafs
quobyte xtreemfs moosefs mfs lizardfs seaweedfs weed juicefs alluxio alluxio-fuse hdfs fuse_dfs cvmfs2"""
_BUCKETS = """s3fs s3ql goofys geesefs gcsfuse blobfuse blobfuse2 mount-s3 mountpoint-s3 ossfs
ossfs2 cosfs obsfs"""
_HOSTS = "9p virtiofs vboxsf vmhgfs vmhgfs-fuse prl_fs grpcfuse osxfs fakeowner"
"""What a virtual machine, and with it a container, is given of the machine around it."""

_NETWORK = frozenset(" ".join((_SERVERS, _CLUSTERS, _BUCKETS, _HOSTS)).split())
"""Types of disks, and what is behind a FUSE mount, of which more than one machine may have a
part."""


def network_filesystem(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return the type of the network disk that `path` is on, `None` where it is on no such disk or
    nobody knows.

    A link is on the disk that it leads to.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux
        return None
    # Spaces and the like are written there as octal numbers. Of two mounts on one place the later
    # one is seen.
    fields = [line.split()[:3] for line in lines if len(line.split()) > 2]
    places = [
        (Path(place.encode().decode("unicode_escape")), source, kind)
        for source, place, kind in fields
    ]
    inside = path.resolve()
    above = [
        (len(place.parts), at, source, kind)
        for at, (place, source, kind) in enumerate(places)
        if inside.is_relative_to(place)
    ]
    _, _, source, kind = max(above, default=(0, 0, "", ""))
    family, _, member = kind.lower().partition(".")
    names = {family, member}
    if family in ("fuse", "fuseblk") and not member:
        # Unlike `fuse.sshfs`, plain FUSE says what it is in its source.
        names = {source.lower().partition(mark)[0] for mark in (":", "#")}
    return kind if _NETWORK & names else None
