"""SQLite's write-ahead log loses payments on disks that several machines share, so a ledger never stands on one."""

from pathlib import Path

import pytest

from pixmill.errors import LedgerError
from pixmill.ledger import open_ledger, sqlite
from pixmill.ledger.disks import network_disk

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
def test_the_nearest_mount_decides(folder: str, kind: str | None, tmp_path: Path) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert network_disk(Path(folder), tmp_path / "mounts") == kind


def test_where_nobody_knows_the_mounts_nothing_is_refused(tmp_path: Path) -> None:
    assert network_disk(tmp_path, tmp_path / "no such file") is None


def test_a_store_on_a_network_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B14: before anything is paid; looking at one that is there already is allowed."""
    monkeypatch.setattr(sqlite, "network_disk", lambda _: "nfs4")
    with pytest.raises(LedgerError, match="network disk \\(nfs4\\)"):
        open_ledger(tmp_path / "ledger.db")
    assert open_ledger(tmp_path / "ledger.db", read_only=True) is None
