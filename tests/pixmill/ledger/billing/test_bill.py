"""The bill: exact money, honest ranges, and the days of the provider's time zone."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pixmill.errors import TableError, UserError
from pixmill.ledger.billing.bill import Bill, grouping, make_bill, month_period
from pixmill.ledger.billing.reconciliation import (
    Reconciliation,
    compare,
    days_of,
    read_export,
)
from tests.fork_server import fork_code
from tests.pixmill.ledger.billing.billing import Books, books

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Books]:
    with books(tmp_path) as made:
        yield made


def bill(
    book: Books, month: str | None = "2026-11", by: str = "", zone: ZoneInfo = SHANGHAI
) -> Bill:
    return make_bill(book.ledger, month_period(month, zone, NOW), grouping(by))


def calls_by(made: Bill) -> dict[tuple[str | None, ...], int]:
    return {line.group: line.calls for line in made.lines}


def against(
    book: Books,
    file: Path,
    text: str,
    month: str | None = None,
    encoding: str = "utf-8",
) -> Reconciliation:
    file.write_bytes(text.encode(encoding))
    export = read_export(str(file), SHANGHAI)
    period = (days_of(export, SHANGHAI) if month is None else None) or month_period(
        month, SHANGHAI, NOW
    )
    return compare(book.ledger, export, period)


def test_yes_no_and_unknown_stand_apart_and_doubt_makes_a_range(book: Books) -> None:
    for charged in ("yes", "yes", "yes", "no", "unknown"):
        book.call("2026-11-05T12:00", charged)
    (total,) = bill(book).totals
    assert [part.calls for part in (total.yes, total.no, total.unknown)] == [3, 1, 1]
    assert (total.least, total.most, total.currency) == (
        Decimal("0.6"),
        Decimal("0.8"),
        "CNY",
    )


def test_money_is_exact_to_the_last_digit(book: Books) -> None:
    """0.1 + 0.2 is not 0.3 in binary."""
    for price in ("0.1", "0.2", "0.0155"):
        book.call("2026-11-05T12:00", price=price)
    (total,) = bill(book).totals
    assert total.least == total.most == Decimal("0.3155")


def test_a_month_begins_and_ends_where_the_zone_says(book: Books) -> None:
    book.call("2026-10-31T23:59:59")
    book.call("2026-11-01T00:00:00")
    book.call("2026-11-30T23:59:59")
    book.call("2026-12-01T00:00:00")
    assert [
        bill(book, month).totals[0].calls
        for month in ("2026-10", "2026-11", "2026-12", "all")
    ] == [1, 2, 1, 4]
    assert bill(book, "2026-10", zone=ZoneInfo("UTC")).totals[0].calls == 2
    assert calls_by(bill(book, "all", "day")) == {
        ("2026-10-31",): 1,
        ("2026-11-01",): 1,
        ("2026-11-30",): 1,
        ("2026-12-01",): 1,
    }


def test_days_are_right_where_a_zone_is_off_by_quarters_and_changes_its_clocks(
    book: Books,
) -> None:
    book.call("2026-11-05T18:14:59+00:00")
    book.call("2026-11-05T18:15:00+00:00")
    assert calls_by(bill(book, by="day", zone=ZoneInfo("Asia/Kathmandu"))) == {
        ("2026-11-05",): 1,
        ("2026-11-06",): 1,
    }
    book.call(
        "2026-03-29T21:59:59+00:00"
    )  # Berlin is an hour further on since the morning
    book.call("2026-03-29T22:00:00+00:00")
    days = calls_by(bill(book, "2026-03", "day", ZoneInfo("Europe/Berlin")))
    assert days == {("2026-03-29",): 1, ("2026-03-30",): 1}


def test_the_current_month_is_that_of_the_zone() -> None:
    late = datetime(2026, 10, 31, 16, tzinfo=UTC)
    assert month_period(None, SHANGHAI, late).label == "2026-11"
    assert month_period(None, ZoneInfo("UTC"), late).label == "2026-10"


def test_groups_multiply_in_the_order_asked_for(book: Books) -> None:
    book.run("run-2", "cars")
    book.call("2026-11-05T12:00")
    book.call("2026-11-05T12:00", "no", code="50429")
    book.call("2026-11-06T12:00", run="run-2", req_key="key_b")
    book.call("2026-11-06T13:00", run="run-2", req_key="key_b")
    assert calls_by(bill(book, by="config")) == {("cars",): 2, ("pets",): 2}
    assert calls_by(bill(book, by="req_key,code")) == {
        ("key_a", "10000"): 1,
        ("key_a", "50429"): 1,
        ("key_b", "10000"): 2,
    }
    assert calls_by(bill(book, by="day,req_key,code,config")) == {
        ("2026-11-05", "key_a", "10000", "pets"): 1,
        ("2026-11-05", "key_a", "50429", "pets"): 1,
        ("2026-11-06", "key_b", "10000", "cars"): 2,
    }


def test_an_unknown_price_is_never_zero(book: Books) -> None:
    book.call("2026-11-05T12:00", price=None)
    (total,) = bill(book).totals
    assert (total.least, total.most, total.unpriced) == (None, None, 1)
    assert total.as_dict(())["yes"] == {"calls": 1, "cost": None, "unpriced": 1}
    book.run("run-2", "pets")
    book.call("2026-11-05T12:00", run="run-2")
    (total,) = bill(book).totals
    assert (total.least, total.most, total.unpriced) == (Decimal("0.2"), None, 1)


def test_a_call_of_a_process_that_died_costs_what_it_was_claimed_at(
    tmp_path: Path,
) -> None:
    with books(tmp_path) as book:
        book.call("2026-11-05T12:00", price="0.5")
    script = f"""
import os
from decimal import Decimal
from pathlib import Path
from pixmill.ledger import open_ledger
from tests.pixmill.ledger.billing.billing import TERMS
ledger = open_ledger(Path({str(tmp_path / "ledger.db")!r}))
ledger.claim("never answered", TERMS, Decimal("0.5"))
os._exit(9)
"""
    with fork_code(script) as died:
        assert died.wait(60) == 9
    with books(tmp_path, run="run-2") as book:
        (total,) = bill(book, "all").totals
    assert (total.unknown.calls, total.least, total.most) == (
        1,
        Decimal("0.5"),
        Decimal("1.0"),
    )


def test_currencies_are_never_added_up(book: Books) -> None:
    book.run("run-2", "pets")
    book.call("2026-11-05T12:00")
    book.call("2026-11-05T12:00", run="run-2", price="1", currency="USD")
    totals = {line.currency: line.least for line in bill(book).totals}
    assert totals == {"CNY": Decimal("0.2"), "USD": Decimal("1.0")}


def test_a_period_without_calls_is_an_empty_bill(book: Books) -> None:
    made = bill(book, by="day")
    assert (made.lines, made.totals[0].calls, made.totals[0].least) == (
        (),
        0,
        Decimal(0),
    )


@pytest.mark.parametrize(
    "month", ["2026", "2026-13", "2026-1", "november", "26-11", "0000-01"]
)
def test_a_month_that_is_none_is_refused(month: str) -> None:
    with pytest.raises(UserError, match="is not a month"):
        month_period(month, SHANGHAI, NOW)


def test_a_group_that_is_none_is_refused() -> None:
    assert grouping("day, config,day") == ("day", "config")
    with pytest.raises(UserError, match="'hour'"):
        grouping("day,hour")


# Against the console's export


def test_an_export_that_agrees_shows_no_difference(book: Books, tmp_path: Path) -> None:
    for moment in ("2026-11-05T12:00", "2026-11-05T13:00", "2026-11-06T12:00"):
        book.call(moment)
    book.call("2026-11-06T13:00", "no")
    found = against(
        book,
        tmp_path / "c.csv",
        "date,calls,amount\n2026-11-05,2,0.40\n2026-11-06,1,¥0.20\n",
    )
    assert not found.differs
    assert found.export.columns == {"day": "date", "calls": "calls", "amount": "amount"}


@pytest.mark.parametrize(
    ("calls", "amount", "differs"),
    [(1, 0.2, False), (2, 0.4, False), (3, 0.6, True), (0, 0, True)],
)
def test_what_is_in_doubt_may_or_may_not_be_on_the_bill(
    book: Books, tmp_path: Path, calls: int, amount: float, differs: bool
) -> None:
    book.call("2026-11-05T12:00")
    book.call("2026-11-05T12:00", "unknown")
    found = against(
        book, tmp_path / "c.csv", f"day,count,cost\n2026/11/5,{calls},{amount}\n"
    )
    assert found.differs is differs


def test_each_day_that_only_one_side_has_differs(book: Books, tmp_path: Path) -> None:
    book.call("2026-11-06T12:00")
    text = "date,calls\n2026-11-05,1\n2026-11-07,0\n"
    differing = [
        day.day for day in against(book, tmp_path / "c.csv", text).days if day.differs
    ]
    assert differing == ["2026-11-05", "2026-11-06"]


def test_an_unknown_price_can_t_contradict_the_console(
    book: Books, tmp_path: Path
) -> None:
    book.call("2026-11-05T12:00", price=None)
    assert not against(book, tmp_path / "c.csv", "date,amount\n2026-11-05,17\n").differs


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_chinese_export_is_understood(
    book: Books, tmp_path: Path, encoding: str
) -> None:
    request_id = book.call("2026-11-05T23:30")
    header = "消费时间,请求ID,折扣金额,应付金额(元),费用类型"
    text = (
        f"{header}\n2026年11月5日 23:30,{request_id},0.05,0.20元,按量\n合计,,,0.20,\n"
    )
    found = against(book, tmp_path / "c.csv", text, encoding=encoding)
    assert found.export.columns == {
        "request_id": "请求ID",
        "day": "消费时间",
        "amount": "应付金额(元)",
    }
    assert (found.differs, found.export.left_out, found.days[0].console_calls) == (
        False,
        1,
        1,
    )


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030"]
)
def test_an_export_is_read_as_spreadsheets_write_it(
    book: Books, tmp_path: Path, encoding: str, mark: str
) -> None:
    request_id = book.call("2026-11-05T12:00")
    rows = [["Date", "Request ID", "Amount"], ["2026-11-05", request_id, "0.20"]]
    text = "\r\n".join(mark.join(row) for row in rows)
    found = against(book, tmp_path / "c.csv", text, encoding=encoding)
    assert not found.differs
    assert found.export.rows[0].amount == Decimal("0.20")


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("(0.40)", "-0.40"), ("(¥0.40)", "-0.40"), ("¥(0.40)", None), ("-0.40", "-0.40"), ("-¥0.40", "-0.40"),
        ("¥-0.40", "-0.40"), ("\u22120.40", "-0.40"), ("0.40-", "-0.40"), ("0.40 CNY", "0.40"), ("0,40 €", "0.40"),
        ("1,234.50", "1234.50"), ("1.234,50", "1234.50"), ("1,234", "1234"), ("12,5", "12.5"), ("0,400", "0.400"),
        ("1,23,456.5", "123456.5"), ("1,234,567", "1234567"), ("--", "0"), ("", "0"), ("1.2.3", None),
        ("0.40)", "0.40"), ("free", None),
    ],
)  # fmt: skip
def test_an_amount_is_read_as_people_write_it(
    tmp_path: Path, written: str, amount: str | None
) -> None:
    (tmp_path / "c.csv").write_text(
        f'date;amount\n2026-11-05;"{written}"\n', encoding="utf-8"
    )
    if amount is None:
        with pytest.raises(TableError, match="is not a number"):
            read_export(str(tmp_path / "c.csv"), SHANGHAI)
    else:
        export = read_export(str(tmp_path / "c.csv"), SHANGHAI)
        assert [row.amount for row in export.rows] == [Decimal(amount)]


def test_what_is_given_back_is_no_charged_call(book: Books, tmp_path: Path) -> None:
    request_id = book.call("2026-11-05T12:00")
    text = f"date,request id,amount\n2026-11-05,{request_id},0.60\n2026-11-05,back,(0.40)\n"
    found = against(book, tmp_path / "c.csv", text)
    assert not found.differs
    assert (found.days[0].console_calls, found.days[0].console_amount) == (
        1,
        Decimal("0.20"),
    )


def test_an_export_in_an_encoding_that_nobody_knows_says_how_to_save_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "c.csv").write_bytes("Périodé,Payé\n1,2\n".encode("cp1252"))
    with pytest.raises(TableError) as caught:
        read_export(str(tmp_path / "c.csv"), SHANGHAI)
    assert "UTF-8" in str(caught.value) + caught.value.hint


def test_times_with_a_zone_are_counted_in_ours(book: Books, tmp_path: Path) -> None:
    book.call("2026-11-05T00:30")
    assert not against(
        book, tmp_path / "c.csv", "time,calls\n2026-11-04T16:30:00Z,1\n"
    ).differs


def test_request_ids_that_only_one_side_has_are_counted_and_twenty_listed(
    book: Books, tmp_path: Path
) -> None:
    ids = [book.call("2026-11-05T12:00") for _ in range(30)]
    free, doubtful = (
        book.call("2026-11-05T12:00", "no"),
        book.call("2026-11-05T12:00", "unknown"),
    )
    rows = [*ids[25:], *(f"theirs-{at}" for at in range(22)), free, doubtful]
    text = "RequestId,Date\n" + "".join(f"{one},2026-11-05\n" for one in rows)
    found = against(book, tmp_path / "c.csv", text)
    assert found.differs
    assert found.only_ledger
    assert found.only_console
    assert (found.only_ledger.number, found.only_console.number) == (25, 23), (
        "unknown ones are explained, free not"
    )
    assert len(found.only_ledger.ids) == len(found.only_console.ids) == 20
    assert set(found.only_ledger.ids) < set(ids[:25])


def test_rows_that_cost_nothing_are_no_charged_calls(
    book: Books, tmp_path: Path
) -> None:
    paid, free = book.call("2026-11-05T12:00"), book.call("2026-11-05T12:00", "no")
    text = f"request_id,date,amount\n{paid},2026-11-05,0.2\n{free},2026-11-05,0\nother,2026-11-05,-\n"
    assert not against(book, tmp_path / "c.csv", text).differs


def test_an_id_just_over_midnight_is_found_on_the_other_day(
    book: Books, tmp_path: Path
) -> None:
    late = book.call("2026-11-06T00:00:01")
    found = against(book, tmp_path / "c.csv", f"request_id,date\n{late},2026-11-05\n")
    assert found.only_console
    assert found.only_console.number == 0


def test_rows_outside_the_month_are_left_out_and_counted(
    book: Books, tmp_path: Path
) -> None:
    book.call("2026-11-05T12:00")
    text = "date,calls\n2026-11-05,1\n2026-12-05,9\n"
    found = against(book, tmp_path / "c.csv", text, "2026-11")
    assert (found.differs, found.outside) == (False, 1)


def test_an_export_without_days_is_held_against_the_whole_month(
    book: Books, tmp_path: Path
) -> None:
    book.call("2026-11-05T12:00")
    assert not against(book, tmp_path / "c.csv", "calls,amount\n1,0.2\n").differs
    assert (
        against(book, tmp_path / "c.csv", "calls,amount\n2,0.2\n").days[0].calls_differ
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("date,discount,account\n2026-11-05,1,2\n", "no column says what was spent"),
        ("date,amount\n2026-11-05,free\n", "row 1: 'free' is not a number"),
        ("date,amount\n2026-11-05,1,2\n", "line 2"),
    ],
)
def test_an_export_that_can_t_be_understood_says_why(
    tmp_path: Path, text: str, complaint: str
) -> None:
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(TableError, match=complaint):
        read_export(str(tmp_path / "c.csv"), SHANGHAI)
