"""SQLite's write-ahead log loses payments on disks that several machines share, so a ledger never stands on one."""

from pathlib import Path
from typing import Any

import pytest

from pixmill.errors import LedgerError
from pixmill.ledger import open_ledger, sqlite
from pixmill.ledger.filesystems import network_filesystem

MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/export /srv/team nfs4 rw,vers=4.2 0 0
tmpfs /srv/team/scratch tmpfs rw 0 0
//server/share /mnt/with\\040space cifs rw 0 0
host /mnt/far fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/data/out", None),
        ("/srv/team/out", "nfs4"),
        ("/srv/team/scratch/out", None),
        ("/srv/teams/out", None),
        ("/mnt/with space/out", "cifs"),
        ("/mnt/far", "fuse.sshfs"),
    ],
)
def test_the_nearest_mount_decides(
    folder: str, kind: str | None, tmp_path: Path
) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert network_filesystem(Path(folder), tmp_path / "mounts") == kind


def test_where_nobody_knows_the_mounts_nothing_is_refused(tmp_path: Path) -> None:
    assert network_filesystem(tmp_path, tmp_path / "no such file") is None


def test_a_store_on_a_network_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B14: before anything is paid; looking at one that is there already is allowed."""
    monkeypatch.setattr(sqlite, "network_filesystem", lambda _: "nfs4")
    with pytest.raises(LedgerError, match="network file system \\(nfs4\\)"):
        open_ledger(tmp_path / "ledger.db")
    assert open_ledger(tmp_path / "ledger.db", read_only=True) is None


@pytest.mark.parametrize(
    "mounted",
    [
        "JuiceFS:team /mnt/x fuse.juicefs",
        "bucket /mnt/x fuse.goofys",
        "goofys#bucket /mnt/x fuse",
        "geesefs /mnt/x fuse.geesefs",
        "blobfuse2 /mnt/x fuse",
        "blobfuse /mnt/x fuse",
        "mountpoint-s3 /mnt/x fuse",
        "s3fs /mnt/x fuse",
        "remote: /mnt/x fuse.rclone",
        "https://dav.example.com/team /mnt/x fuse",
        "store /mnt/x virtiofs",
        "/run/host_mark/Users /mnt/x fakeowner",
        "grpcfuse /mnt/x fuse.grpcfuse",
        "drvfs /mnt/x 9p",
        "shared /mnt/x vboxsf",
        "vmhgfs-fuse /mnt/x fuse.vmhgfs-fuse",
        "gpfs1 /mnt/x gpfs",
        "/dev/sdb1 /mnt/x ocfs2",
        "/dev/sdb1 /mnt/x gfs2",
        "ceph-fuse /mnt/x fuse.ceph-fuse",
        "server:/export /mnt/x NFS4",
    ],
)
def test_what_more_than_one_machine_may_have_is_a_network_disk(
    mounted: str, tmp_path: Path
) -> None:
    """B14: also where plain FUSE says what it is in its source only."""
    (tmp_path / "mounts").write_text(f"/dev/vda / ext4 rw 0 0\n{mounted} rw 0 0\n")
    assert (
        network_filesystem(Path("/mnt/x/out/ledger.db"), tmp_path / "mounts")
        == mounted.split()[2]
    )


@pytest.mark.parametrize(
    "mounted",
    [
        "/dev/sdb1 /mnt/x fuseblk",
        "/dev/sdb1 /mnt/x xfs",
        "encfs /mnt/x fuse.encfs",
        "mergerfs /mnt/x fuse.mergerfs",
        "overlay /mnt/x overlay",
        "pool/nfs /mnt/x zfs",
    ],
)
def test_a_disk_of_this_machine_is_none_whatever_it_is_called(
    mounted: str, tmp_path: Path
) -> None:
    (tmp_path / "mounts").write_text(f"/dev/vda / ext4 rw 0 0\n{mounted} rw 0 0\n")
    assert network_filesystem(Path("/mnt/x/out/ledger.db"), tmp_path / "mounts") is None


@pytest.mark.parametrize("linked", ["the file", "the folder"])
def test_a_link_to_a_network_disk_is_seen_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: str
) -> None:
    """B14: the store is here, the ledger is not."""
    (tmp_path / "mounts").write_text(
        f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path}/far nfs4 rw 0 0\n"
    )
    look: Any = lambda path: network_filesystem(path, tmp_path / "mounts")  # noqa: E731
    monkeypatch.setattr(sqlite, "network_filesystem", look)
    (tmp_path / "far").mkdir()
    if linked == "the file":
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "ledger.db").symlink_to(tmp_path / "far" / "ledger.db")
    else:
        (tmp_path / "store").symlink_to(tmp_path / "far")
    with pytest.raises(LedgerError, match="network file system \\(nfs4\\)"):
        open_ledger(tmp_path / "store" / "ledger.db")
    assert not (tmp_path / "far" / "ledger.db").exists()
