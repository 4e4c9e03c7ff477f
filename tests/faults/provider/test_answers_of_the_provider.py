"""Family E of the faults: what the provider says to a run. Limits, refusals, credentials, odd answers, budgets."""

import json

import pytest

from tests.conftest import KEY, Project, simulator
from tests.faulty_server import answer
from tests.pixmill.provider.answer_bodies import PNG64, gateway_error, success
from tests.pixmill.run_checks import (
    Fault,
    Provider,
    charged_but_lost,
    configure_run,
    error_response,
    faults_file,
    ledger,
    picture,
    run_and_check,
    simulator_charges,
)

URL = "https://images.example.com/a.jpg"


@pytest.mark.parametrize("status", [200, 429])
@pytest.mark.parametrize("code", [50429, 50430])
def test_a_throttled_row_goes_again_and_is_no_failure(
    project: Project, status: int, code: int
) -> None:
    """E1, E2: the code wins over the status, and throttling uses up no attempts."""
    with Provider(
        {1: error_response(code, status), 4: error_response(code, status)}
    ) as provider:
        run = run_and_check(
            configure_run(project, provider.url, 6, retry={"max_attempts": 1}),
            provider.charges,
        )
    assert (run.report["exit_code"], run.report["succeeded"], run.report["calls"]) == (
        0,
        6,
        8,
    )
    assert len(provider.requests) == 8
    assert sorted(run.column("attempts"))[-1] <= 3


def test_an_account_with_a_lower_limit_than_the_config_fails_no_row(
    project: Project,
) -> None:
    """E2: a real limit of one call at a time, met by four threads."""
    with simulator(
        project.folder, "--concurrency", "1", "--latency", "0.02"
    ) as simulated:
        run = run_and_check(
            configure_run(project, simulated.url, 8, limits={"concurrency": 4}),
            simulator_charges(simulated),
        )
        assert simulated.bill.calls == run.report["calls"]
    assert (run.report["exit_code"], run.report["succeeded"]) == (0, 8)


def test_an_account_with_a_lower_rate_than_the_config_fails_no_row(
    project: Project,
) -> None:
    """E1: a real limit of calls a second."""
    with simulator(project.folder, "--qps", "10") as simulated:
        run = run_and_check(
            configure_run(project, simulated.url, 16, limits={"concurrency": 4}),
            simulator_charges(simulated),
        )
        codes = {line["code"] for line in simulated.bill.lines()}
    assert codes == {10000, 50429}
    assert (run.report["exit_code"], run.report["succeeded"]) == (0, 16)


REFUSALS = [
    50411,
    50412,
    50413,
    50512,
    50518,
    50511,
    50519,
]  # the last two are of the picture that was drawn
FAILURES = [50520, 50521, 50522, 50215, 50200]


def test_moderation_and_bad_input_are_never_tried_again(project: Project) -> None:
    """E4, E5: one run meets every code, with the real messages; one call each, and none by the next run."""
    codes = [*REFUSALS, *FAILURES]
    rules = [{"prompt": f"a pet {at} ", "code": code} for at, code in enumerate(codes)]
    project.write_rows(
        [{**row, "text": f"{row['text']} sits"} for row in project.rows(len(codes) + 2)]
    )
    with simulator(
        project.folder, "--faults", str(faults_file(project.folder, *rules))
    ) as simulated:
        rows = [
            {**row, "text": f"{row['text']} sits"}
            for row in project.rows(len(codes) + 2)
        ]
        config = configure_run(
            project,
            simulated.url,
            0,
            stop={"failed_fraction": 1, "refused_fraction": 1},
            retry={"rerolls": 0},
        )
        project.write_rows(rows)
        run = run_and_check(config, simulator_charges(simulated))
        again = run_and_check(config, simulator_charges(simulated))
        assert simulated.bill.calls == len(codes) + 2
    assert run.column("status") == ["refused"] * 7 + ["failed"] * 5 + ["succeeded"] * 2
    assert run.column("error_code") == [*map(str, codes), None, None]
    assert set(run.column("attempts")) == {1}
    assert all(row["error_message"] for row in run.rows[: len(codes)])
    assert (
        run.report["exit_code"],
        again.report["exit_code"],
        again.report["calls"],
    ) == (3, 0, 0)


@pytest.mark.parametrize(
    ("req_key", "calls", "outcome"),
    [
        ("high_aes_scheduler_svr_controlnet_v2.0", 2, "succeeded"),
        ("jimeng_i2i_v30", 1, "failed"),
    ],
)
@pytest.mark.parametrize("code", [50500, 50501])
def test_whether_an_internal_error_is_tried_again_is_the_operations_choice(
    project: Project, req_key: str, calls: int, outcome: str, code: int
) -> None:
    """E6: the pages of two operations say no."""
    with Provider({1: error_response(code, 500)}) as provider:
        config = configure_run(project, provider.url, 1, request={"req_key": req_key})
        run = run_and_check(config, provider.charges)
    assert run.column("status") == [outcome]
    assert (run.column("attempts"), len(provider.requests)) == ([calls], calls)


def test_a_code_that_nobody_knows_fails_once_and_is_reported(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    """E7: not retried, said aloud once, and in the dataset."""
    with Provider(
        {2: error_response(58123, 418), 3: error_response(58123)}
    ) as provider:
        run = run_and_check(configure_run(project, provider.url, 5), provider.charges)
    assert (run.report["exit_code"], run.report["failed"], run.report["calls"]) == (
        3,
        2,
        5,
    )
    assert [row["error_code"] for row in run.rows if row["status"] == "failed"] == [
        "58123"
    ] * 2
    assert sum("58123" in line.message for line in caplog.records) == 1


def test_a_success_without_an_image_is_paid_and_not_paid_again(
    project: Project,
) -> None:
    """E8: none where one was asked for; the charge stands in the ledger and the bill."""
    empty = json.dumps({**success(image_urls=[]), "request_id": "call-2"}).encode()
    with Provider({2: charged_but_lost(answer(empty))}) as provider:
        config = configure_run(project, provider.url, 3, budget={"price_per_call": 0.2})
        run = run_and_check(config, provider.charges)
        again = run_and_check(config, provider.charges)
    assert [row["error_code"] for row in run.rows if row["status"] == "failed"] == [
        "no_image"
    ]
    assert (run.report["failed"], run.report["cost"]) == (1, 0.6)
    assert again.report["calls"] == 0


def test_more_images_than_asked_for_are_all_kept(project: Project) -> None:
    """E9: duplicates among them too."""
    urls = [URL, "https://images.example.com/b.jpg", URL]
    several = json.dumps({**success(image_urls=urls), "request_id": "call-1"}).encode()
    with Provider({1: charged_but_lost(answer(several))}) as provider:
        run = run_and_check(configure_run(project, provider.url, 2), provider.charges)
    [found] = [row for row in run.rows if row["output_url"] == URL]
    assert (found["status"], found["output_urls"]) == ("succeeded", urls)


def test_both_pictures_of_a_canny_control_are_stored(project: Project) -> None:
    """E9: the contour map comes as a second image."""
    control = {"type": "canny", "strength": 0.6, "binary_data_index": 0}
    with simulator(project.folder) as simulated:
        configure_run(
            project,
            simulated.url,
            1,
            request={"params": {"controlnet_args": [control]}},
        )
        config = project.write_config(
            output={"images": "download", "allow_hosts": ["127.0.0.1"]}
        )
        run = run_and_check(config, simulator_charges(simulated))
    [row] = run.rows
    assert len(row["images"]) == 2
    assert all(
        (project.folder / "out" / image["file_name"]).stat().st_size
        for image in row["images"]
    )


def test_an_image_inside_the_answer_that_is_none_is_missing_and_not_paid_again(
    project: Project,
) -> None:
    """E8: base64 of damaged bytes; the payment is recorded, the picture is known to be missing."""
    damaged = json.dumps(
        {**success(image_urls=[], binary_data_base64=[PNG64]), "request_id": "call-1"}
    ).encode()
    with Provider({1: charged_but_lost(answer(damaged))}) as provider:
        config = configure_run(project, provider.url, 1, output={"images": "download"})
        run = run_and_check(config, provider.charges)
        again = run_and_check(config, provider.charges)
    assert (run.column("status"), run.column("file_name")) == (["succeeded"], [None])
    assert (run.report["exit_code"], run.report["images_missing"]) == (3, 1)
    assert again.report["calls"] == 0


def test_a_wrong_key_costs_one_call_and_ends_with_6(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E10: the simulator's gateway form checks Bearer keys as resellers do; the key is in no row."""
    with simulator(project.folder) as simulated:
        config = configure_run(project, simulated.url, 9)
        monkeypatch.setenv("PIXMILL_API_KEY", "sk-canary-that-is-wrong")
        run = run_and_check(config, simulator_charges(simulated))
        assert simulated.bill.calls == 0
        monkeypatch.setenv("PIXMILL_API_KEY", KEY)
        mended = run_and_check(config, simulator_charges(simulated))
    assert (run.report["exit_code"], run.report["calls"], run.report["skipped"]) == (
        6,
        1,
        9,
    )
    assert "sk-canary" not in json.dumps(run.report) + str(run.rows)
    assert (mended.report["exit_code"], mended.report["succeeded"]) == (0, 9)


def test_a_wrong_signature_costs_one_call_and_ends_with_6(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E10: the signed form, whose secret key the simulator knows otherwise."""
    monkeypatch.setenv("VOLC_ACCESSKEY", "AKTESTS")
    monkeypatch.setenv("VOLC_SECRETKEY", "right==")
    with simulator(project.folder) as simulated:
        config = configure_run(
            project, simulated.url, 6, provider={"kind": "volcengine"}
        )
        monkeypatch.setenv("VOLC_SECRETKEY", "wrong==")
        run = run_and_check(config, simulator_charges(simulated))
        monkeypatch.setenv("VOLC_SECRETKEY", "right==")
        mended = run_and_check(config, simulator_charges(simulated))
    assert (run.report["exit_code"], run.report["calls"], run.report["skipped"]) == (
        6,
        1,
        6,
    )
    assert "SignatureDoesNotMatch" in run.report["reason"]
    assert (mended.report["exit_code"], mended.report["succeeded"]) == (0, 6)


def test_an_operation_that_is_called_the_wrong_way_stops_the_run(
    project: Project,
) -> None:
    """E12: one call shows it, and the message says what to change."""
    with Provider({}) as provider:
        provider.every = error_response(50204, 400)
        request = {"req_key": "nobody_knows"}
        config = configure_run(project, provider.url, 5, request=request)
        run = run_and_check(config, provider.charges)
        assert len(provider.requests) == 1
    assert (run.report["exit_code"], run.report["skipped"]) == (6, 5)
    assert "set request.mode to the other way" in run.report["reason"]


REVOKED = {
    "arrears or entitlement": error_response(50400, 401),
    "entitlement, HTTP 200": error_response(30403, 200),
    "gateway, revoked key": Fault(
        answer(json.dumps({"error": {"message": "revoked"}}).encode(), 401),
        charged=False,
    ),
    "gateway, empty account": Fault(
        answer(
            json.dumps(
                {"error": {"message": "no money", "code": "insufficient_user_quota"}}
            ).encode(),
            403,
        ),
        charged=False,
    ),
    "signature expired": Fault(
        answer(json.dumps(gateway_error("InvalidTimestamp", 100006)).encode(), 400),
        False,
    ),
    "policy": Fault(
        answer(json.dumps(gateway_error("AccessDenied", 100013)).encode(), 403),
        charged=False,
    ),
}


@pytest.mark.parametrize("fault", REVOKED.values(), ids=REVOKED)
def test_an_account_that_stops_working_stops_the_run_and_nothing_is_lost(
    project: Project, fault: Fault
) -> None:
    """E11, E12, H7: calls in flight end, the rest is not attempted, and the next run pays for it."""
    faults: dict[int | str, Fault] = dict.fromkeys(range(6, 60), fault)
    with Provider(faults, delay=0.01) as provider:
        config = configure_run(project, provider.url, 30)
        run = run_and_check(config, provider.charges)
        provider.faults.clear()
        wasted = len(provider.requests) - 5
        mended = run_and_check(config, provider.charges)
    assert run.report["exit_code"] == 6
    assert 1 <= wasted <= 4, "more calls than were in flight"
    assert (run.report["succeeded"], run.report["skipped"]) == (5, 25)
    assert run.rows[-1]["error_code"] == "not_attempted"
    assert (
        mended.report["exit_code"],
        mended.report["succeeded"],
        mended.report["cached"],
    ) == (
        0,
        30,
        5,
    )


def test_the_first_call_goes_alone_until_the_service_answers(
    project: Project,
) -> None:
    """E10: a call without an answer proves nothing, so the one after it goes alone too."""
    with Provider({1: charged_but_lost(answer(b"<html>", 504))}, delay=0.2) as provider:
        run_and_check(configure_run(project, provider.url, 12), provider.charges)
    assert provider.together[:3] == [
        1,
        1,
        1,
    ]  # the third is the first of those that go together
    assert max(provider.together) == 4


@pytest.mark.parametrize(
    ("budget", "calls", "code"),
    [
        ({"max_calls": 4}, 4, 4),
        ({"max_calls": 10}, 10, 0),
        ({"max_calls": 0}, 0, 4),
        ({"max_cost": 0.6, "price_per_call": 0.2}, 3, 4),
        ({"max_cost": 0.7, "price_per_call": 0.2, "max_calls": 100}, 3, 4),
    ],
)
def test_a_run_never_calls_more_often_than_its_budget(
    project: Project, budget: dict[str, float], calls: int, code: int
) -> None:
    """E15: a hard stop, shared by all threads; a run that just fits is no stop."""
    with Provider() as provider:
        run = run_and_check(
            configure_run(project, provider.url, 10, budget=budget), provider.charges
        )
    assert len(provider.requests) == run.report["calls"] == calls
    assert (
        run.report["exit_code"],
        run.report["succeeded"],
        run.report["skipped"],
    ) == (
        code,
        calls,
        10 - calls,
    )
    assert run.report["cost"] == (
        round(calls * 0.2, 6) if "price_per_call" in budget else None
    )


def test_the_budget_counts_calls_and_not_results(project: Project) -> None:
    """E15: retries, failures and throttled calls use it up as successes do; the next run goes on with a new one."""
    faults: dict[int | str, Fault] = {
        1: error_response(50429, 429),
        2: error_response(50215),
        3: error_response(50500, 500),
    }
    with Provider(faults) as provider:
        config = configure_run(project, provider.url, 6, budget={"max_calls": 5})
        run = run_and_check(config, provider.charges)
        assert len(provider.requests) == run.report["calls"] == 5
        mended = run_and_check(config, provider.charges)
    assert run.report["exit_code"] == 4
    assert (
        mended.report["exit_code"],
        mended.report["succeeded"],
        mended.report["failed"],
    ) == (
        0,
        5,
        1,
    )


def test_a_row_is_tried_max_attempts_times_in_a_run_and_in_max_runs_runs(
    project: Project,
) -> None:
    """retry.max_attempts and retry.max_runs: then it stays failed until somebody asks again."""
    with Provider(every=error_response(50500, 500)) as provider:
        config = configure_run(
            project, provider.url, 1, retry={"max_attempts": 2, "max_runs": 2}
        )
        runs = [run_and_check(config, provider.charges).report for _ in range(3)]
        assert len(provider.requests) == 4
    assert [(run["exit_code"], run["calls"], run["failed"]) for run in runs] == [
        (3, 2, 1),
        (3, 2, 1),
        (0, 0, 1),
    ]


def test_only_the_row_that_brown_outs_hit_too_often_is_left(project: Project) -> None:
    """D19: a third of the calls fails; the run ends, every row has its outcome, and the next run mends the rest."""
    faults: dict[int | str, Fault] = {
        at: error_response(50500, 500) for at in range(1, 30, 3)
    }
    with Provider(faults) as provider:
        config = configure_run(
            project,
            provider.url,
            18,
            retry={"max_attempts": 2},
            stop={"failed_fraction": 1},
        )
        run = run_and_check(config, provider.charges)
        mended = run_and_check(config, provider.charges)
    assert run.report["succeeded"] + run.report["failed"] == 18
    assert run.report["calls"] <= 36
    assert (mended.report["succeeded"], mended.report["failed"]) == (18, 0)


@pytest.mark.parametrize(
    ("accept", "code"),
    [
        ({}, 3),
        ({"failed": 0.2}, 3),
        ({"refused": 0.2}, 3),
        ({"failed": 0.2, "refused": 0.1}, 0),
        ({"failed": 0.1, "refused": 0.1}, 3),
    ],
)
def test_new_problems_beyond_accept_end_with_3_and_known_ones_with_0(
    project: Project, accept: dict[str, float], code: int
) -> None:
    faults: dict[int | str, Fault] = {
        "a pet 1": error_response(50215),
        "a pet 2": error_response(50215),
        "a pet 3": error_response(50412),
    }
    with Provider(faults) as provider:
        config = configure_run(project, provider.url, 10, accept=accept)
        run = run_and_check(config, provider.charges)
        again = run_and_check(config, provider.charges)
    assert (run.report["failed"], run.report["refused"], run.report["exit_code"]) == (
        2,
        1,
        code,
    )
    assert (
        again.report["failed"],
        again.report["exit_code"],
        again.report["calls"],
    ) == (2, 0, 0)


def test_a_share_that_is_reached_exactly_is_accepted(project: Project) -> None:
    faults: dict[int | str, Fault] = {
        f"a pet {at}": error_response(50215) for at in range(29)
    }
    with Provider(faults) as provider:
        config = configure_run(
            project,
            provider.url,
            50,
            accept={"failed": 0.58},
            stop={"failed_fraction": 1},
        )
        run = run_and_check(config, provider.charges)
    assert (run.report["failed"], run.report["exit_code"]) == (29, 0)


@pytest.mark.parametrize(
    ("code", "outcome", "section"),
    [(50215, "failed", "failed_fraction"), (50412, "refused", "refused_fraction")],
)
def test_too_many_problems_stop_the_run_with_5(
    project: Project, code: int, outcome: str, section: str
) -> None:
    """I1f: a wrong setting refuses or fails every row; a window of them is enough to know."""
    with Provider(every=error_response(code)) as provider:
        config = configure_run(
            project,
            provider.url,
            60,
            stop={section: 0.5, "window": 6},
            accept={outcome: 1},
        )
        run = run_and_check(config, provider.charges)
        assert 6 <= len(provider.requests) <= 6 + 4
    assert (run.report["exit_code"], run.report[outcome]) == (5, len(provider.requests))


def test_a_share_of_problems_below_the_limit_goes_on(project: Project) -> None:
    faults: dict[int | str, Fault] = {
        f"a pet {at}": error_response(50215) for at in range(0, 30, 2)
    }
    with Provider(faults) as provider:
        config = configure_run(
            project, provider.url, 30, stop={"window": 10}, limits={"concurrency": 1}
        )
        run = run_and_check(config, provider.charges)
    assert (run.report["exit_code"], run.report["failed"], run.report["succeeded"]) == (
        3,
        15,
        15,
    )


def test_limit_pays_for_the_first_rows_and_is_no_problem(project: Project) -> None:
    with Provider() as provider:
        config = configure_run(project, provider.url, 9)
        some = run_and_check(config, provider.charges, limit=4)
        assert sorted(provider.prompts) == [f"a pet {at}" for at in range(4)]
        rest = run_and_check(config, provider.charges)
    assert (
        some.report["exit_code"],
        some.report["succeeded"],
        some.report["skipped"],
    ) == (0, 4, 5)
    assert (
        rest.report["exit_code"],
        rest.report["succeeded"],
        rest.report["cached"],
    ) == (0, 9, 4)


def test_equal_rows_are_one_payment_and_one_failure(project: Project) -> None:
    """I3: the cost stands on the first of them, the outcome on all."""
    with Provider({"a pet 1": error_response(50215)}) as provider:
        config = configure_run(project, provider.url, 0, budget={"price_per_call": 0.2})
        project.write_rows([*project.rows(2), *project.rows(2)])
        run = run_and_check(config, provider.charges)
    assert (run.report["jobs"], run.report["calls"], run.report["cost"]) == (4, 2, 0.2)
    assert run.column("status") == ["succeeded", "failed"] * 2
    assert run.column("cost") == [0.2, None, None, None]


def test_invalid_rows_are_never_sent_and_count_as_one_job_each(
    project: Project,
) -> None:
    """I4: every kind of outcome in one run, and the counts add up."""
    faults: dict[int | str, Fault] = {
        "a pet 3": error_response(50215),
        "a pet 4": error_response(50412),
        "a pet 5": charged_but_lost(answer(picture("a pet 5")[:40])),
    }
    with Provider(faults) as provider:
        config = configure_run(
            project,
            provider.url,
            0,
            input={"max_invalid": 0.5},
            limits={"concurrency": 1},
        )
        rows = project.rows(8)
        for at, change in enumerate(
            (
                {"text": " "},
                {"photo": "file:///etc/passwd"},
                {"photo": "http://10.0.0.1/a"},
            )
        ):
            rows[at].update(change)
        project.write_rows(rows)
        run = run_and_check(config, provider.charges)
        assert sorted(provider.prompts) == [f"a pet {at}" for at in range(3, 8)]
        assert not any(
            b"passwd" in request or b"10.0.0.1" in request
            for request in provider.requests
        )
        again = run_and_check(config, provider.charges)
    assert run.column("status") == ["invalid"] * 3 + [
        "failed",
        "refused",
        "in_doubt",
        "succeeded",
        "succeeded",
    ]
    assert (
        run.report["exit_code"],
        again.report["exit_code"],
        again.report["calls"],
    ) == (3, 0, 0)
    assert ledger(config, "SELECT count(*) FROM jobs") == [(5,)]
