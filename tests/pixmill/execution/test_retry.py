"""Paying again for what has an outcome: as often as was agreed, and never at the price of what was there before."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from pixmill.config.loading import load_config
from pixmill.errors import UserError
from pixmill.execution.prepare import PreparedRun, prepare
from pixmill.execution.retry_selection import select_for_retry
from pixmill.execution.status import read_status
from pixmill.ledger.input_images import InputImage
from pixmill.planning.planner import make_plan
from tests.conftest import Project, Simulated, pay_for_chunks, results, run_config
from tests.faulty_server import answer, reset
from tests.pixmill.run_checks import (
    CheckedRun,
    Fault,
    Provider,
    charged_but_lost,
    configure_run,
    error_response,
    ledger,
    run_and_check,
    simulator_charges,
)

LENIENT = {"failed_fraction": 1, "refused_fraction": 1}


@contextmanager
def to_retry(
    config: str, *statuses: str, codes: Sequence[str] = (), where: str | None = None
) -> Iterator[PreparedRun]:
    """A run that was planned to pay again for some jobs, and not yet agreed to."""
    settings = load_config(config)
    with prepare(
        settings, retried=select_for_retry(settings, statuses, codes, where)
    ) as run:
        yield run


def retry(
    config: str, *statuses: str, codes: Sequence[str] = (), where: str | None = None
) -> CheckedRun:
    """`pixmill retry` through the library: what `run` does, with these jobs marked when it begins."""
    with to_retry(config, *statuses, codes=codes, where=where) as prepared:
        run = prepared.start()
        pay_for_chunks(run)
        run.fetch_missing()
        report = run.finish().as_dict()
    return CheckedRun(report, results(report))


def again(config: str, *overrides: str) -> CheckedRun:
    report = run_config(config, *overrides)
    return CheckedRun(report, results(report))


def marks(config: str) -> int:
    return ledger(config, "SELECT sum(again) FROM jobs")[0][0]  # type: ignore[no-any-return]


def images(project: Project, run: CheckedRun) -> list[bytes]:
    store = load_config(project.path).store_path
    return [(store / name).read_bytes() for name in run.column("file_name")]


# Selection


@pytest.fixture
def mixed(project: Project) -> Iterator[Project]:
    """Rows 1-2 failed (50215 and 50207), row 3 was refused, row 4 is in doubt, rows 5-6 succeeded; now all is well."""
    faults: dict[int | str, Fault] = {
        "a pet 0": error_response(50215),
        "a pet 1": error_response(50207),
        "a pet 2": error_response(50412),
        "a pet 3": charged_but_lost(reset()),
    }
    with Provider(faults) as provider:
        config = configure_run(
            project, provider.url, 6, stop=LENIENT, accept={"failed": 1, "refused": 1}
        )
        first = run_and_check(config, provider.charges)
        assert first.column("status") == [
            "failed",
            "failed",
            "refused",
            "in_doubt",
            "succeeded",
            "succeeded",
        ]
        project.provider = provider  # type: ignore[attr-defined]
        yield project


@pytest.mark.parametrize(
    ("statuses", "codes", "where", "asked"),
    [
        ((), (), None, [0, 1]),
        (("refused",), (), None, [2]),
        (("failed", "refused"), (), None, [0, 1, 2]),
        (("in_doubt",), (), None, [3]),
        (("succeeded",), (), None, [4, 5]),
        ((), ("50207", "50412"), None, [1, 2]),
        (("failed",), ("50207", "50412"), None, [1]),
        ((), (), "id == 'r1' or id == 'r5'", [1]),
        (("succeeded",), (), "row_number > 5", [5]),
        (("succeeded",), ("50207",), None, []),
    ],
)
def test_what_fits_all_that_was_said_is_asked_for_again_and_nothing_else(
    mixed: Project,
    statuses: tuple[str, ...],
    codes: tuple[str, ...],
    where: str | None,
    asked: list[int],
) -> None:
    provider: Provider = mixed.provider  # type: ignore[attr-defined]
    before = len(provider.prompts)
    with to_retry(mixed.path, *statuses, codes=codes, where=where) as run:
        assert (run.to_pay, run.plan.again, len(run.plan.asked)) == (len(asked),) * 3
        summary = run.plan.summary()
        assert (
            sum(
                summary[name]
                for name in ("cached", "refused", "failed", "in_doubt", "pending")
            )
            == 6
        )
    assert marks(mixed.path) == 0, "nobody has agreed yet"
    done = retry(mixed.path, *statuses, codes=codes, where=where)
    assert sorted(provider.prompts[before:]) == [f"a pet {at}" for at in asked]
    assert done.report["calls"] == len(asked)
    assert all(done.column("status")[at] == "succeeded" for at in asked)
    assert (again(mixed.path).report["calls"], marks(mixed.path)) == (0, 0)


@pytest.mark.parametrize(
    ("statuses", "where", "words"),
    [
        (["faild"], None, "did you mean `failed`"),
        (["skipped"], None, "is not one of succeeded, failed, refused, in_doubt"),
        ([], "colour == 'red'", "no column 'colour'"),
        ([], "row_number >", "--where"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(
    mixed: Project, statuses: list[str], where: str | None, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        select_for_retry(load_config(mixed.path), statuses, (), where)


def test_a_condition_needs_a_published_dataset(project: Project) -> None:
    project.write_rows(project.rows(2))
    with pytest.raises(UserError, match=r"dataset.parquet does not exist"):
        select_for_retry(load_config(project.write_config()), (), (), "row_number > 1")


# Regenerating


def test_a_regenerated_image_takes_the_place_of_the_old_one(
    project: Project, simulated: Simulated
) -> None:
    """The same request is sent, as the seed is part of the key; what came of it replaces all of the old outcome."""
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    first = run_and_check(project.path, simulator_charges(simulated))
    new = retry(project.path, "succeeded", where="id == 'r1'")
    assert (new.report["calls"], new.report["exit_code"], new.report["succeeded"]) == (
        1,
        0,
        3,
    )
    assert new.column("cached") == [True, False, True]
    assert new.column("seed") == first.column("seed") == new.column("effective_seed")
    assert new.rows[1]["run_id"] == new.report["run_id"] != first.report["run_id"]
    assert new.rows[1]["request_id"] != first.rows[1]["request_id"]
    assert new.column("attempts") == [1, 2, 1]
    assert len(images(project, new)) == 3
    assert Counter(simulated.bill.keys).most_common(1)[0][1] == 2
    quiet = again(project.path)
    assert (quiet.report["calls"], simulated.bill.calls) == (0, 4)


BAD = {
    "failed": (error_response(50215), "no"),
    "refused": (error_response(50412), "no"),
    "lost": (charged_but_lost(reset()), "unknown"),
    "a page of a proxy": (charged_but_lost(answer(b"<html>", 504)), "unknown"),
}


@pytest.mark.parametrize(("fault", "charged"), BAD.values(), ids=BAD)
def test_a_success_stays_as_it_was_when_its_new_call_brings_none(
    project: Project, fault: Any, charged: str
) -> None:
    """The attempt is written down with what it may have cost; the run says that nothing was renewed."""
    with Provider() as provider:
        config = configure_run(
            project,
            provider.url,
            3,
            stop=LENIENT,
            budget={"max_calls": 100, "price_per_call": 0.2},
        )
        first = run_and_check(config, provider.charges)
        provider.faults["a pet 1"] = fault
        second = retry(config, "succeeded", where="id == 'r1'")
        assert len(provider.prompts) == 4
        third = again(config)
        assert len(provider.prompts) == 4, "one call for one mark"
    assert second.report["exit_code"] == 3
    assert second.report["reason"] == "finished with new problems: 1 not renewed"
    assert second.report["succeeded"] == second.report["cached"] == 3
    kept = {name: value for name, value in second.rows[1].items() if name != "attempts"}
    assert kept == {name: first.rows[1][name] for name in kept} | {"cached": True}
    assert (third.report["exit_code"], third.rows) == (0, second.rows)
    last = "SELECT run_id, charged FROM attempts ORDER BY id DESC LIMIT 1"
    assert ledger(config, last) == [(second.report["run_id"], charged)]


def test_a_throttled_call_costs_nothing_and_does_not_use_up_what_was_agreed(
    project: Project,
) -> None:
    with Provider() as provider:
        config = configure_run(project, provider.url, 2)
        run_and_check(config, provider.charges)
        provider.faults |= {3: error_response(50430), 4: error_response(50500)}
        second = retry(config, "succeeded")
        assert second.report["calls"] == 4
        assert [charge.request_id for charge in provider.bill[2:]] == [
            "call-5",
            "call-6",
        ]
    assert second.column("cached") == [False, False]


def test_transient_failures_keep_the_mark_for_as_many_runs_as_others(
    project: Project,
) -> None:
    with Provider() as provider:
        config = configure_run(
            project,
            provider.url,
            1,
            stop=LENIENT,
            retry={"max_attempts": 1, "max_runs": 2},
        )
        first = run_and_check(config, provider.charges)
        provider.every = error_response(50500)
        calls = [
            retry(config, "succeeded").report["calls"],
            *(again(config).report["calls"] for _ in range(2)),
        ]
        assert calls == [1, 1, 0]
        provider.every = None
        assert again(config).rows[0]["output_url"] == first.rows[0]["output_url"]
        assert retry(config, "succeeded").report["calls"] == 1
        assert len(provider.bill) == 2


def test_failures_that_ran_out_of_runs_are_retried_when_asked(project: Project) -> None:
    with Provider(every=error_response(50500)) as provider:
        config = configure_run(
            project,
            provider.url,
            1,
            stop=LENIENT,
            retry={"max_attempts": 1, "max_runs": 1},
        )
        run_and_check(config, provider.charges)
        assert run_and_check(config, provider.charges).report["calls"] == 0
        provider.every = None
        assert retry(config, "failed").column("status") == ["succeeded"]


def test_an_outcome_stays_where_the_call_never_ends_one(project: Project) -> None:
    """Refused before, throttled and stopped now: it is still refused for its old reason, and the next run goes on."""
    with Provider({1: error_response(50412)}) as provider:
        config = configure_run(project, provider.url, 1, stop=LENIENT)
        run_and_check(config, provider.charges)
        provider.faults[2] = error_response(50400)
        stopped = retry(config, "refused")
        assert stopped.report["exit_code"] == 6
        assert (stopped.column("status"), stopped.column("error_code")) == (
            ["refused"],
            ["50412"],
        )
        assert marks(config) == 1
        with prepare(load_config(config)) as run:
            assert (run.to_pay, run.plan.again, run.plan.asked) == (1, 1, ())
        assert again(config).column("status") == ["succeeded"]
        assert len(provider.bill) == 1


def test_a_row_whose_image_is_bad_by_now_keeps_what_was_paid(project: Project) -> None:
    """Asked for again it could only fail: it is neither sent nor made invalid."""
    with Provider() as provider:
        config = configure_run(project, provider.url, 3)
        run_and_check(config, provider.charges)
    settings = load_config(project.write_config(input={"images": "check"}))
    with prepare(load_config(config, ["input.images=url"])) as run:
        gone = InputImage(
            "https://images.example.com/1.jpg",
            1,
            "input_not_found",
            "its answer is 404",
        )
        run.ledger.record_input(gone)
        chosen = partial(
            select_for_retry(settings, ["succeeded"], (), None).select, run.ledger
        )
        plan = make_plan(settings, run.ledger, chosen)
    assert (plan.to_pay, plan.again, len(plan.asked), plan.invalid) == (2, 2, 2, 0)
    assert plan.summary()["cached"] == 1


# Money


def test_the_cap_of_a_run_holds_and_the_next_run_pays_for_the_rest(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(6))
    project.use_simulator(simulated)
    run_and_check(project.path, simulator_charges(simulated))
    project.write_config(budget={"max_calls": 4})
    capped = retry(project.path, "succeeded")
    assert (
        capped.report["exit_code"],
        capped.report["calls"],
        capped.report["succeeded"],
    ) == (4, 4, 6)
    assert marks(project.path) == 2
    rest = again(project.path)
    assert (rest.report["calls"], rest.report["succeeded"]) == (2, 6)
    assert again(project.path).report["calls"] == 0
    assert set(Counter(simulated.bill.keys).values()) == {2}, (
        "each is billed once and once more, as was agreed"
    )


def test_two_configs_that_ask_for_the_same_job_pay_for_it_once(
    project: Project,
) -> None:
    """Both were agreed to; the second finds that there is a newer outcome than the one that it was agreed to for."""
    with Provider({1: error_response(50215)}) as provider:
        config = configure_run(project, provider.url, 1, stop=LENIENT)
        run_and_check(config, provider.charges)
        other = str(project.folder / "other.yaml")
        Path(other).write_text(yaml.safe_dump({**project.config, "name": "other"}))
        with to_retry(other, "failed") as late:
            assert late.to_pay == 1
            assert retry(config, "failed").column("status") == ["succeeded"]
            run = late.start()
            list(map(run.process, run.chunks()))
            report = run.finish().as_dict()
        assert (report["calls"], report["succeeded"]) == (0, 1)
        assert len(provider.bill) == 1


# Jobs in doubt


def test_in_doubt_retry_pays_again_in_each_run_as_often_as_max_runs_says(
    project: Project,
) -> None:
    with Provider(every=charged_but_lost(reset())) as provider:
        config = configure_run(
            project,
            provider.url,
            2,
            stop=LENIENT,
            in_doubt="retry",
            retry={"max_runs": 3},
        )
        calls = [again(config).report["calls"] for _ in range(5)]
        assert calls == [2, 2, 2, 0, 0]
        assert len(provider.bill) == 6
        with prepare(load_config(config)) as run:
            assert run.plan.summary()["in_doubt"] == 2
        provider.every = None
        assert retry(config, "in_doubt").column("status") == ["succeeded"] * 2


def test_in_doubt_hold_sends_nothing_again_unasked(project: Project) -> None:
    with Provider({1: charged_but_lost(reset())}) as provider:
        config = configure_run(project, provider.url, 1, stop=LENIENT)
        run_and_check(config, provider.charges)
        assert run_and_check(config, provider.charges).report["calls"] == 0
        assert again(config, "in_doubt=retry").column("status") == ["succeeded"]


def test_status_lists_what_is_in_doubt_for_a_look_at_the_console(
    project: Project,
) -> None:
    body = b'{"code": null, "request_id": "call-2"}'
    with Provider(
        {2: charged_but_lost(answer(body, 200)), "a pet 3": charged_but_lost(reset())}
    ) as provider:
        config = configure_run(
            project, provider.url, 5, stop=LENIENT, limits={"concurrency": 1}
        )
        run = run_and_check(config, provider.charges)
    status = read_status(load_config(config))
    assert [doubt.label for doubt in status.in_doubt_jobs] == ["row 2", "row 4"]
    first = status.in_doubt_jobs[0]
    assert first.request_id == run.rows[1]["request_id"] == "call-2"
    assert first.sent_at == run.rows[1]["started_at"]
    assert status.next_command("pets.yaml").startswith(
        "pixmill retry pets.yaml --in-doubt"
    )


def test_status_lists_at_most_twenty_jobs_in_doubt(project: Project) -> None:
    with Provider(every=charged_but_lost(reset())) as provider:
        config = configure_run(project, provider.url, 23, stop=LENIENT)
        run_and_check(config, provider.charges)
    status = read_status(load_config(config))
    assert len(status.in_doubt_jobs) == 20
    assert status.plan.summary()["in_doubt"] == 23
