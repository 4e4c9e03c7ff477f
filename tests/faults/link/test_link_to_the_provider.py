"""Family D of the faults: what the network does to a run. Real sockets, a provider that fails as told.

A call that may have been charged is in doubt and never sent again; one that was turned away is tried again.
"""

import gzip
import json
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pixmill.config.loading import load_config
from pixmill.execution.prepare import prepare
from tests.conftest import Project, results, run_config
from tests.faulty_server import (
    Behaviour,
    FaultyServer,
    answer,
    drip_body,
    drip_headers,
    endless,
    gzip_bomb,
    hang_up,
    message,
    redirect,
    reset,
    stall,
    truncated,
)
from tests.pixmill.provider.answer_bodies import error, success
from tests.pixmill.run_checks import (
    Fault,
    Provider,
    charged_but_lost,
    check_run,
    configure_run,
    error_response,
    ledger,
    picture,
    run_and_check,
    run_to_end,
)

BRIEF = {"timeout_seconds": 0.4}
HTML = b"<html><body><h1>Gateway Time-out</h1></body></html>"


def seconds_after_the_first(provider: Provider) -> float:
    """How long after the first call the second one came."""
    return provider.arrived[1] - provider.arrived[0]


@pytest.mark.parametrize("status", [408, 499, 500, 502, 503, 504])
def test_a_bare_server_error_is_in_doubt_and_held(
    project: Project, status: int
) -> None:
    """D1: whoever wrote the page does not know whether the call was charged."""
    with Provider({2: charged_but_lost(answer(HTML, status))}) as provider:
        config = configure_run(project, provider.url, 6)
        first = run_and_check(config, provider.charges)
        second = run_and_check(config, provider.charges)
    assert (
        first.report["exit_code"],
        first.report["in_doubt"],
        first.report["succeeded"],
    ) == (3, 1, 5)
    assert [row["error_code"] for row in first.rows if row["status"] == "in_doubt"] == [
        f"http_{status}"
    ]
    assert (
        second.report["exit_code"],
        second.report["calls"],
        second.report["in_doubt"],
    ) == (0, 0, 1)


def test_a_provider_that_leaves_everything_in_doubt_stops_the_run(
    project: Project,
) -> None:
    """D1, D18: the breaker counts what is in doubt, as each such call may have cost money."""
    with Provider(every=charged_but_lost(answer(HTML, 504))) as provider:
        config = configure_run(project, provider.url, 40, stop={"window": 5})
        run = run_and_check(config, provider.charges)
    assert run.report["exit_code"] == 5
    assert len(provider.requests) == run.report["in_doubt"] <= 5 + 4
    assert run.report["skipped"] == 40 - run.report["in_doubt"]
    assert run.rows[-1]["error_code"] == "not_attempted"


def test_a_server_error_with_a_service_code_is_tried_again(project: Project) -> None:
    """D1: its code was an answer, and the table of codes decides."""
    with Provider({1: error_response(50500, 500)}) as provider:
        run = run_and_check(configure_run(project, provider.url, 3), provider.charges)
    assert (run.report["exit_code"], run.report["succeeded"], run.report["calls"]) == (
        0,
        3,
        4,
    )
    assert run.column("attempts") == [2, 1, 1]


def test_a_page_in_place_of_an_answer_is_kept_and_no_success(project: Project) -> None:
    """D2: a captive portal says 200 to everything; 64 KiB of what it says are kept."""
    page = b"<html>please log in" + b"." * 100_000
    with Provider({1: charged_but_lost(answer(page))}) as provider:
        config = configure_run(project, provider.url, 3)
        run = run_and_check(config, provider.charges)
    assert run.column("status") == ["in_doubt", "succeeded", "succeeded"]
    assert run.rows[0]["error_code"] == "broken_answer"
    [(raw,)] = ledger(config, "SELECT answer FROM attempts WHERE verdict = 'in_doubt'")
    assert raw == page[:65536]


def test_an_answer_cut_at_any_byte_is_never_a_success(project: Project) -> None:
    """D3: the row is in doubt, and URLs that arrived whole are kept with it."""
    whole = picture("a pet 0")
    url = json.loads(whole)["data"]["image_urls"][0]
    cuts = range(0, len(whole), max(1, len(whole) // 40))
    with Provider(
        {at: charged_but_lost(answer(whole[:cut])) for at, cut in enumerate(cuts, 1)}
    ) as provider:
        config = configure_run(
            project,
            provider.url,
            len(cuts),
            limits={"concurrency": 1},
            stop={"failed_fraction": 1},
        )
        run = run_and_check(config, provider.charges)
    assert run.report["in_doubt"] == len(cuts) == run.report["calls"]
    complete = [f'"{url}"'.encode() in whole[:cut] for cut in cuts]
    assert any(complete) and not all(complete)
    assert run.column("output_url") == [
        url if arrived else None for arrived in complete
    ]


SHAPES: dict[str, tuple[bytes, str]] = {
    "success without data": (
        json.dumps({"code": 10000, "data": None}).encode(),
        "failed",
    ),
    "success, data is a list": (
        json.dumps({"code": 10000, "data": [1]}).encode(),
        "failed",
    ),
    "success, URLs are no list": (
        json.dumps(success(image_urls="https://x")).encode(),
        "failed",
    ),
    "success, URLs are numbers": (
        json.dumps(success(image_urls=[1, None])).encode(),
        "failed",
    ),
    "the code is text": (
        json.dumps({**success(), "code": "10000"}).encode(),
        "succeeded",
    ),
    "the code is a float": (
        json.dumps({**success(), "code": 10000.0}).encode(),
        "succeeded",
    ),
    "time is not a number": (
        json.dumps({**success(), "time_elapsed": float("nan")}).encode(),
        "succeeded",
    ),
    "no code": (b'{"data": {}}', "in_doubt"),
    "the code is NaN": (b'{"code": NaN, "data": null}', "in_doubt"),
    "the code is a list": (b'{"code": [10000]}', "in_doubt"),
    "the code is true": (b'{"code": true}', "in_doubt"),
    "a list": (b"[]", "in_doubt"),
    "a number": (b"10000", "in_doubt"),
    "null": (b"null", "in_doubt"),
    "nothing": (b"", "in_doubt"),
    "not UTF-8": (b"\xff\xfe\x00{", "in_doubt"),
    "deeper than any parser": (b'{"code":10000,"data":' + b"[" * 2_000_000, "in_doubt"),
    "ten megabytes of lists": (b"[" + b"[],".ljust(3) * 3_000_000 + b"[]]", "in_doubt"),
}


def test_an_answer_of_the_wrong_shape_is_an_outcome_and_never_a_crash(
    project: Project,
) -> None:
    """D4: one run meets them all, and every row gets the outcome of its own answer."""
    bodies = list(SHAPES.values())
    # A sound answer follows each: several faults in a row would be an outage, in which a run takes its time.
    faults: dict[int | str, Fault] = {
        f"a pet {2 * at}": charged_but_lost(answer(body))
        for at, (body, _) in enumerate(bodies)
    }
    with Provider(faults) as provider:
        config = configure_run(
            project,
            provider.url,
            2 * len(bodies),
            limits={"concurrency": 1},
            stop={"failed_fraction": 1},
        )
        run = run_to_end(lambda: _without_ids(config, provider))
    assert dict(zip(SHAPES, run[::2], strict=True)) == {
        name: status for name, (_, status) in SHAPES.items()
    }
    assert set(run[1::2]) == {"succeeded"}


def _without_ids(config: str, provider: Provider) -> list[Any]:
    """Carry out a config whose answers carry no request ids by which a bill could be compared; return the statuses."""
    report = run_config(config)
    assert report["calls"] == len(provider.requests) == report["jobs"]
    return [row["status"] for row in results(report)]


@pytest.mark.parametrize(
    "behaviour",
    [stall(), stall(message(length=9)), drip_headers(), drip_body()],
    ids=["silence", "half a body", "dripping headers", "dripping body"],
)
def test_a_call_that_never_ends_is_ended_by_the_deadline_and_in_doubt(
    project: Project, behaviour: Behaviour
) -> None:
    """D5, D6: the deadline is that of the whole call, however much drips in."""
    with Provider(
        {1: charged_but_lost(behaviour), 3: charged_but_lost(behaviour)}
    ) as provider:
        run = run_and_check(
            configure_run(project, provider.url, 4, limits=BRIEF), provider.charges
        )
    assert (run.report["in_doubt"], run.report["succeeded"], run.report["calls"]) == (
        2,
        2,
        4,
    )
    assert {row["error_code"] for row in run.rows if row["status"] == "in_doubt"} == {
        "no_answer"
    }
    assert run.report["seconds"] < 20


@pytest.mark.parametrize(
    "behaviour",
    [
        reset(),
        reset(message(length=9)),
        hang_up(),
        truncated(HTML),
        endless(),
        gzip_bomb(80 * 2**20),
    ],
    ids=[
        "reset",
        "reset in the body",
        "hang-up",
        "cut body",
        "endless body",
        "gzip bomb",
    ],
)
def test_a_connection_that_fails_after_the_request_leaves_its_row_in_doubt(
    project: Project, behaviour: Behaviour
) -> None:
    """D7, D15: the request had left, so it is neither retried now nor by the next run."""
    with Provider({2: charged_but_lost(behaviour)}) as provider:
        config = configure_run(project, provider.url, 5)
        run = run_and_check(config, provider.charges)
        again = run_and_check(config, provider.charges)
    assert (run.report["in_doubt"], run.report["succeeded"], run.report["calls"]) == (
        1,
        4,
        5,
    )
    assert again.report["calls"] == 0


def test_rows_that_could_not_be_sent_are_pending_again(project: Project) -> None:
    """D7, D10: nobody listens, so nothing was charged; the next run finds the provider up and pays once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    config = configure_run(project, url, 3, retry={"max_attempts": 2})
    down = run_and_check(config, list)
    assert (down.report["exit_code"], down.report["failed"], down.report["calls"]) == (
        3,
        3,
        6,
    )
    assert {row["error_code"] for row in down.rows} == {"not_sent"}
    with Provider() as provider:
        up = run_and_check(configure_run(project, provider.url, 3), provider.charges)
    assert (up.report["exit_code"], up.report["succeeded"], up.report["calls"]) == (
        0,
        3,
        3,
    )


@pytest.mark.parametrize(
    "host", ["x" * 64 + ".invalid", "a..b"], ids=["long label", "empty label"]
)
def test_a_name_that_can_not_be_looked_up_is_a_bounded_retry(
    project: Project, host: str
) -> None:
    """D10: names that fail before any server is asked."""
    config = configure_run(project, f"https://{host}", 2, retry={"max_attempts": 2})
    run = run_and_check(config, list)
    assert (run.report["exit_code"], run.report["failed"], run.report["calls"]) == (
        3,
        2,
        4,
    )
    assert ledger(config, "SELECT DISTINCT code, charged FROM attempts") == [
        ("not_sent", "no")
    ]


def test_a_provider_that_closes_after_each_answer_is_asked_once_for_each_row(
    project: Project,
) -> None:
    """D8: a kept connection that turns out closed costs no second payment and no row.

    One that closes while a request is on its way may have taken it: such a row is in doubt, and never sent again.
    """
    with Provider(close=True) as provider:
        run = run_and_check(configure_run(project, provider.url, 12), provider.charges)
    assert run.report["succeeded"] + run.report["in_doubt"] == run.report["calls"] == 12


def _self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
    )
    day = timedelta(days=1)
    builder = (
        builder.serial_number(1).not_valid_before(now - day).not_valid_after(now + day)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "server.pem").write_bytes(private + public)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


@pytest.mark.parametrize(
    "encrypted", [True, False], ids=["self-signed", "no TLS at all"]
)
def test_a_provider_that_can_not_prove_who_it_is_gets_no_request(
    project: Project, encrypted: bool
) -> None:
    """D9: it fails closed, without a plain-text attempt."""
    tls = _self_signed(project.folder) if encrypted else None
    with FaultyServer(answer(), tls=tls) as server:
        config = configure_run(
            project,
            f"https://127.0.0.1:{server.port}",
            2,
            retry={"max_attempts": 1},
            limits=BRIEF,
        )
        run = run_and_check(config, list)
    assert (run.report["exit_code"], run.report["failed"], server.requests) == (
        3,
        2,
        [],
    )
    assert {row["error_code"] for row in run.rows} == {"not_sent"}


RETRY_AFTER = "Retry-After"


@pytest.mark.parametrize(
    "fault",
    [
        error_response(50429, 429, Retry_After="1"),
        error_response(50430, 429, Retry_After="1"),
        error_response(50500, 503, Retry_After="1"),
        charged_but_lost(answer(HTML, 503, {RETRY_AFTER: "1"})),
    ],
    ids=["rate", "concurrency", "fault", "bare 503"],
)
def test_retry_after_holds_back_the_whole_account(
    project: Project, fault: Fault
) -> None:
    """D11: not only the row that was told waits, all do."""
    with Provider({1: fault}) as provider:
        run = run_and_check(configure_run(project, provider.url, 6), provider.charges)
    assert seconds_after_the_first(provider) >= 1.0
    assert run.report["succeeded"] + run.report["in_doubt"] == 6


def test_retry_after_as_a_date_holds_back_the_whole_account(project: Project) -> None:
    """D12: the other form of RFC 9110. A date has whole seconds, so two ahead are more than one."""

    def ask_to_wait(peer: Any) -> None:
        until = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        answer(json.dumps(error(50429)).encode(), 429, {RETRY_AFTER: until})(peer)

    with Provider({1: Fault(ask_to_wait, charged=False)}) as provider:
        run = run_and_check(configure_run(project, provider.url, 5), provider.charges)
    assert seconds_after_the_first(provider) >= 0.95
    assert (run.report["exit_code"], run.report["succeeded"]) == (0, 5)


def test_a_retry_after_that_says_nothing_is_like_none(project: Project) -> None:
    """D12, D13: past, negative, empty and made-up values; throttled rows use up no attempts."""
    values = ["-7", "soon", "", "Wed, 21 Oct 2015 07:28:00 GMT", "1e3"]
    faults: dict[int | str, Fault] = {
        f"a pet {at}": error_response(50429, 429, Retry_After=value)
        for at, value in enumerate(values)
    }
    with Provider({**faults, "a pet 5": error_response(50430, 429)}) as provider:
        run = run_and_check(
            configure_run(project, provider.url, 8, retry={"max_attempts": 1}),
            provider.charges,
        )
    assert (run.report["exit_code"], run.report["succeeded"], run.report["calls"]) == (
        0,
        8,
        14,
    )
    assert run.report["seconds"] < 20


def test_a_hold_of_years_is_cut_and_can_be_interrupted(project: Project) -> None:
    """D12: 10^9 seconds become minutes, and a person who does not want to wait need not."""
    with Provider(
        {1: error_response(50429, 429, Retry_After="1000000000")}
    ) as provider:
        config = configure_run(project, provider.url, 4)
        report = run_to_end(lambda: _interrupted_while_held(config, provider))
        check_run(config, report, provider.charges())
        assert (report["exit_code"], report["skipped"], report["calls"]) == (130, 4, 1)
        assert len(provider.requests) == 1


def _interrupted_while_held(config: str, provider: Provider) -> dict[str, Any]:
    with prepare(load_config(config)) as prepared:
        run = prepared.start()
        work = threading.Thread(
            target=lambda: [run.process(chunk) for chunk in run.chunks()]
        )
        work.start()
        while run.executor.counts.calls < 1:
            work.join(0.01)
        run.interrupt("SIGINT")
        work.join()
        return run.finish().as_dict()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_ends_the_run_after_one_call(
    project: Project, status: int
) -> None:
    """D14: key and payment go to the address of the config or nowhere."""
    with FaultyServer(answer()) as elsewhere:
        with Provider(
            every=Fault(redirect(elsewhere.url, status), charged=False)
        ) as provider:
            run = run_and_check(
                configure_run(project, provider.url, 5), provider.charges
            )
        assert (run.report["exit_code"], run.report["skipped"], elsewhere.requests) == (
            6,
            5,
            [],
        )
        assert len(provider.requests) == 1


def test_an_answer_that_nobody_asked_for_is_not_given_to_the_next_row(
    project: Project,
) -> None:
    """D16: a second answer on a kept connection would shift all that follow by one."""
    double = message(picture("a pet 0", 1)) + message(picture("somebody else's", 99))
    with Provider({1: charged_but_lost(lambda peer: peer.pour([double]))}) as provider:
        run = run_and_check(
            configure_run(project, provider.url, 6, limits={"concurrency": 1}),
            provider.charges,
        )
    urls = {f"https://images.example.com/a-pet-{at}.jpg" for at in range(6)}
    assert {
        row["output_url"] for row in run.rows if row["status"] == "succeeded"
    } <= urls
    assert all(
        row["output_url"].endswith(row["text"].replace(" ", "-") + ".jpg")
        for row in run.rows
    )


def test_proxies_of_the_environment_are_not_used(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D17: the key goes straight to the provider."""
    with FaultyServer(answer()) as proxy, Provider() as provider:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        run = run_and_check(configure_run(project, provider.url, 3), provider.charges)
        assert (run.report["succeeded"], proxy.connections) == (3, 0)


def test_a_compressed_answer_is_read_although_nobody_asked_for_it(
    project: Project,
) -> None:
    """D15: a middle box that compresses costs no payment."""
    body = gzip.compress(picture("a pet 0", 1))
    with Provider(
        {1: charged_but_lost(answer(body, headers={"Content-Encoding": "gzip"}))}
    ) as provider:
        run = run_and_check(configure_run(project, provider.url, 2), provider.charges)
    assert run.column("status") == ["succeeded", "succeeded"]
