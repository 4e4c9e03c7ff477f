"""Keys and seeds are computed once for all passes over a table, and are the same as if they were computed again."""

import errno
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pixmill.config.loading import load_config
from pixmill.planning import plan as plans
from pixmill.planning.computed_jobs import ComputedJobsFile
from pixmill.planning.jobs import JobBatch
from pixmill.planning.packed_keys import key_prefixes, pack_keys, unpack_keys
from pixmill.planning.plan import Plan
from pixmill.planning.planner import make_plan
from pixmill.request.fingerprint import RequestShape
from tests.conftest import Project

CONFIGS: list[dict[str, Any]] = [
    {},
    {"seed": {"policy": "per_job", "replicates": 2}},
    {"seed": {"policy": "fixed", "base": 7, "replicates": 3}},
    {
        "sweep": {
            "groups": [{"grid": {"scale": [2, 3], "ddim_steps": [16, 20]}}],
            "exclude": ["scale == 2 and id == 'r1'"],
        },
        "input": {"where": "id != 'r3'"},
    },
]


def plan_of_odd_rows(project: Project, **changes: Any) -> Plan:
    """Good rows, one that is invalid, and two that contradict each other, in three batches."""
    rows = project.rows(11)
    rows[4]["photo"] = "no url"
    rows[8]["id"] = rows[7]["id"]
    project.write_rows(rows)
    return make_plan(load_config(project.write_config(**changes)), None)


def contents(batch: JobBatch) -> list[object]:
    return [batch.keys, batch.numbers, batch.problems, batch.in_dataset.tolist()]


@pytest.mark.parametrize("changes", CONFIGS, ids=str)
def test_a_later_pass_has_the_jobs_that_it_would_compute(
    project: Project, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(plans, "BATCH_JOBS", 5)
    plan = plan_of_odd_rows(project, **changes)
    again = [contents(of) for of in replace(plan, computed=None).batches()]
    assert len(again) > 1
    assert any(key for keys, *_ in again for key in keys)  # type: ignore[attr-defined]

    def never(*_: object) -> list[str]:
        raise AssertionError("it was computed before")

    monkeypatch.setattr(RequestShape, "job_keys", never)
    assert [contents(of) for of in plan.batches()] == again
    last = np.zeros(11, np.bool_)
    last[-1] = True
    assert [contents(of) for of in plan.batches(last)] == again[-1:]


def test_a_disk_without_room_costs_time_and_no_plan(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [contents(of) for of in plan_of_odd_rows(project).batches()]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("append", "__init__"):
        with monkeypatch.context() as without_room:
            without_room.setattr(ComputedJobsFile, name, full)
            plan = plan_of_odd_rows(project)
        assert plan.computed is None
        assert [contents(of) for of in plan.batches()] == expected


def test_keys_of_local_images_are_computed_again_as_the_files_may_have_changed(
    project: Project,
) -> None:
    project.write_rows([{"id": "1", "photo": "a.png", "text": "a cat"}])
    columns = {"image_file": "photo", "prompt": "text"}
    config = load_config(project.write_config(input={"columns": columns}))
    assert make_plan(config, None).computed is None


def test_packed_keys_are_unpacked_as_they_were() -> None:
    keys = ["0123456789abcdef" * 4, None, "f" * 64, "0" * 63 + "1"]
    packed = pack_keys(keys)
    assert packed.shape == (4, 32)
    assert unpack_keys(packed) == keys
    assert key_prefixes(packed).tolist() == [0x0123456789ABCDEF, 0, 2**64 - 1, 0]
    assert unpack_keys(packed[2:]) == keys[2:]
    assert (unpack_keys(pack_keys([])), len(key_prefixes(pack_keys([])))) == ([], 0)
