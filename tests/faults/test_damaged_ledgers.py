"""Ledgers that a disk has harmed: whatever is wrong with one, nothing that it held as settled is paid for again."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixmill.config.loading import load_config
from pixmill.errors import PixmillError
from pixmill.execution.prepare import prepare
from tests.conftest import Project, run_config
from tests.faulty_server import reset
from tests.fuzz.amount import EFFORT
from tests.pixmill.run_checks import (
    Provider,
    charged_but_lost,
    configure_run,
    error_response,
)

ROWS = 4
FAULTS = {
    "a pet 1": error_response(50412),
    "a pet 2": charged_but_lost(reset()),
    "a pet 3": error_response(50215),
}


class Harmed:
    """A ledger with a success, a refusal, a job in doubt and a permanent failure, to be harmed again and again."""

    def __init__(self, project: Project) -> None:
        self._config = project.path
        self._path = project.folder / "out" / "ledger.db"
        self.whole = self._path.read_bytes()

    def paid_again(self, content: bytes) -> int:
        """For how many jobs a run would pay that finds this `content` in its ledger; none where it is refused."""
        for leftover in self._path.parent.glob("ledger.db*"):
            leftover.unlink()
        self._path.write_bytes(content)
        try:
            with prepare(load_config(self._config)) as prepared:
                prepared.start()
                return prepared.to_pay
        except PixmillError as error:
            assert str(error)
            return 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settled")


@pytest.fixture
def harmed(folder: Path) -> Iterator[Harmed]:
    project = Project(folder)
    if not (folder / "out").exists():
        with Provider(FAULTS) as provider:
            assert (
                run_config(configure_run(project, provider.url, ROWS))["calls"] == ROWS
            )
    ledger = Harmed(project)
    assert ledger.paid_again(ledger.whole) == 0
    yield ledger
    ledger.paid_again(ledger.whole)


def flipped(content: bytes, at: int, bit: int) -> bytes:
    data = bytearray(content)
    data[at] ^= 1 << bit
    return bytes(data)


def test_a_ledger_that_is_cut_off_pays_for_nothing_again(harmed: Harmed) -> None:
    """B5: after every page, and within one."""
    size = int.from_bytes(harmed.whole[16:18], "big")
    cuts = [
        *range(size, len(harmed.whole), size),
        100,
        size // 2,
        len(harmed.whole) - 1,
    ]
    assert {
        cut: jobs for cut in cuts if (jobs := harmed.paid_again(harmed.whole[:cut]))
    } == {}


def test_a_flipped_bit_in_a_job_key_pays_for_nothing_again(harmed: Harmed) -> None:
    """B6: a key that is not found any more would look like one that was never paid for."""
    places = [found.start() for found in re.finditer(rb"[0-9a-f]{64}", harmed.whole)]
    assert len(places) >= 3 * ROWS
    assert {
        at: jobs
        for at in places
        if (jobs := harmed.paid_again(flipped(harmed.whole, at + 9, 1)))
    } == {}


def test_a_flipped_bit_anywhere_in_the_ledger_pays_for_nothing_again(
    harmed: Harmed,
) -> None:
    """B6: it is noticed, or it does no harm; and what is noticed is said as an error of ours."""
    chance = random.Random(7)
    places = [
        (chance.randrange(len(harmed.whole)), chance.randrange(8))
        for _ in range(25 * EFFORT)
    ]
    assert {
        at: jobs
        for at in places
        if (jobs := harmed.paid_again(flipped(harmed.whole, *at)))
    } == {}


@pytest.mark.parametrize(
    "content",
    [b"PAR1" + bytes(4096), b"SQLite format 3\x00" + bytes(4096), bytes(8192)],
)
def test_a_foreign_file_in_place_of_the_ledger_pays_for_nothing(
    harmed: Harmed, content: bytes
) -> None:
    """B9: only proven absence may pay, and a file that can't be read proves nothing."""
    assert harmed.paid_again(content) == 0
