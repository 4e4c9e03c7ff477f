"""Types of the config's fields with their checks: each check raises ValueError with words that follow the key."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from pixmill.conditions import parse, parse_aggregates
from pixmill.config.bucket_address import input_url, is_loopback, store_url
from pixmill.config.ledger_address import database_url
from pixmill.local_paths import local_path
from pixmill.money import to_units

ANY_REQ_KEY = "*"
"""The name under which `retry.codes` holds what is said of every operation."""

NAME_CHARACTERS = 100
"""The most characters that the name of a config may have: folders and objects of a bucket, URLs and
Prefect's flow runs are called after it."""

NAME_PATTERN = rf"[A-Za-z0-9][A-Za-z0-9_\-]{{0,{NAME_CHARACTERS - 1}}}"
"""What the whole of such a name matches."""

ConfigName = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]


def check_time_zone(name: str) -> str:
    """Return the name of a time zone that this machine knows."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError("is not a time zone; an example is Asia/Shanghai") from None
    return name


def check_base_url(url: str) -> str:
    """Return the address of a provider, without a slash at its end."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http(s) URL such as https://gateway.example.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must contain neither credentials nor a query")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError(
            "must be https: plain http is for loopback only, as it would expose the key and "
            "the images"
        )
    return url.rstrip("/")


def check_page_url(url: str) -> str:
    """Return the address of a folder that a browser opens, without a slash at its end."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            "must be an http(s) URL below which the store's files are, such as "
            "https://files.example.com/out"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must contain neither credentials nor a query")
    return url.rstrip("/")


def check_url_path(path: str) -> str:
    """Return the path of a URL, without a slash at its end."""
    if not path.startswith("/") or not path.isprintable() or set(path) & set("?# "):
        raise ValueError("must be the path of a URL such as /volcv/v1, without a query")
    return path.rstrip("/") or "/"


def check_scheduler(address: str) -> str:
    """Return the address of a Dask scheduler: a scheme, a host and a port."""
    parts = urlsplit(address)
    try:
        has_place = bool(parts.hostname and parts.port)
    except ValueError:
        # A port that is not a number, or beyond 65535.
        has_place = False
    if parts.scheme not in ("tcp", "tls") or not has_place:
        raise ValueError(
            "must be the address of a Dask scheduler such as tcp://127.0.0.1:8786"
        )
    return address


def check_variable_name(name: str) -> str:
    """Return the name of an environment variable. A key that was written instead of one is not repeated."""
    if not name.isidentifier():
        raise ValueError(
            "must be the name of an environment variable; the key itself must not be in a config"
        )
    return name


def check_code(code: str) -> str:
    """Return a code of the provider about which a rule may say something."""
    if code == "10000":
        raise ValueError("always means success")
    return code


def expand_rule(value: Any) -> Any:
    """Return a rule about a code as a mapping: `failed` is short for `{verdict: failed}`."""
    return {"verdict": value} if isinstance(value, str) else value


def spell_charged(value: Any) -> Any:
    """Return `charged` as it is written: YAML reads a bare yes or no as true or false."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value


def group_by_req_key(value: Any) -> Any:
    """Put rules that are directly below `retry.codes` below `*`: they are about every operation.

    {50500: failed, some_key: {50215: retry}}    # as it is written
    {"*": {"50500": failed}, "some_key": {"50215": retry}}
    """
    if not isinstance(value, Mapping):
        return value
    grouped: dict[str, Any] = {}
    for_all: dict[str, Any] = {}
    for key, rule in value.items():
        # A rule says one or both of these; anything else is the table of a `req_key`.
        is_rule = not isinstance(rule, Mapping) or rule.keys() <= {"verdict", "charged"}
        if is_rule:
            for_all[str(key)] = rule
        else:
            # Codes are numbers to YAML, and texts everywhere else.
            grouped[str(key)] = {str(code): one for code, one in rule.items()}
    for_all |= grouped.get(ANY_REQ_KEY, {})
    return {**grouped, ANY_REQ_KEY: for_all} if for_all else grouped


def read_amount(value: Any) -> Any:
    """Return a number of YAML as the decimal that it was written as: 0.2, not what is nearest to it
    in binary."""
    return repr(value) if isinstance(value, float) else value


def check_amount(amount: Decimal) -> Decimal:
    """Return an amount of money that a ledger can hold."""
    to_units(amount)
    return amount


def check_currency(text: str) -> str:
    """Return a currency by its letters of ISO 4217, so that no amount is counted under two names."""
    if re.fullmatch("[A-Z]{3}", text):
        return text
    meant = text.upper()
    if not re.fullmatch("[A-Z]{3}", meant):
        meant = _CURRENCIES.get(text.lower(), "")
    suggestion = f"; did you mean {meant}?" if meant else ", such as CNY"
    raise ValueError(f"must be three capital letters (ISO 4217){suggestion}")


_CURRENCIES = {
    "euro": "EUR",
    "euros": "EUR",
    "€": "EUR",
    "dollar": "USD",
    "dollars": "USD",
    "$": "USD",
    "pound": "GBP",
    "pounds": "GBP",
    "£": "GBP",
    "yuan": "CNY",
    "元": "CNY",
    "人民币": "CNY",
    "yen": "JPY",
}
"""What people write for a currency, and its letters."""


def check_condition(text: str) -> str:
    """Return a condition that can be read."""
    try:
        parse(text)
    except ValueError as error:
        raise ValueError(f"is not a condition: {error}") from None
    return text


def check_gate_condition(text: str) -> str:
    """Return a condition over a whole dataset that can be read."""
    try:
        parse_aggregates(text)
    except ValueError as error:
        raise ValueError(f"is not a condition over a dataset: {error}") from None
    return text


Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Amount = Annotated[
    Decimal,
    BeforeValidator(read_amount),
    Field(ge=0, allow_inf_nan=False),
    AfterValidator(check_amount),
    # In YAML and JSON it is a number: a float is as exact as what somebody types.
    PlainSerializer(float, return_type=float, when_used="json"),
]
"""Money, exact."""

Condition = Annotated[str, AfterValidator(check_condition)]
GateCondition = Annotated[str, AfterValidator(check_gate_condition)]
Currency = Annotated[str, AfterValidator(check_currency)]
TimeZone = Annotated[str, AfterValidator(check_time_zone)]
BaseUrl = Annotated[str, AfterValidator(check_base_url)]
PageUrl = Annotated[str, AfterValidator(check_page_url)]
UrlPath = Annotated[str, AfterValidator(check_url_path)]
Scheduler = Annotated[str, AfterValidator(check_scheduler)]
VariableName = Annotated[str, AfterValidator(check_variable_name)]
LocalPath = Annotated[str, AfterValidator(local_path)]
InputPath = Annotated[str, AfterValidator(input_url)]
StorePlace = Annotated[str, Field(min_length=1), AfterValidator(store_url)]
DatabaseUrl = Annotated[str, AfterValidator(database_url)]
Code = Annotated[str, AfterValidator(check_code)]
RuleShorthand = BeforeValidator(expand_rule)
ChargedSpelling = BeforeValidator(spell_charged)
RulesByReqKey = BeforeValidator(group_by_req_key)
