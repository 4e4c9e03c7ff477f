"""The run config as a frozen model: its sections, their keys, types and defaults.

`pixmill.config.loading` reads one from YAML and reports what is wrong with it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pixmill.config.bucket_address import (
    BucketAddress,
    bucket_address,
    input_url,
    is_bucket_url,
    is_loopback,
    store_url,
)
from pixmill.config.ledger_address import database_url
from pixmill.local_paths import local_path
from pixmill.request.model import Request, Section, Seed, Sweep

Allotment = Annotated[float, Field(ge=0, le=1)]
Columns = str | tuple[str, ...]
AUTO_CONCURRENCY = 256
"""The ceiling of the in-flight limit where it is to find itself: more than any account is known to get."""

ANY_REQ_KEY = "*"
"""The name under which `retry.codes` holds what is said of every operation."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError("is not a time zone; an example is Asia/Shanghai") from None
    return name


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http(s) URL such as https://gateway.example.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must contain neither credentials nor a query")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError(
            "must be https: plain http is for loopback only, as it would expose the key and the images"
        )
    return url.rstrip("/")


def _scheduler(address: str) -> str:
    parts = urlsplit(address)
    try:
        has_place = bool(parts.hostname and parts.port)
    except ValueError:
        has_place = False
    if parts.scheme not in ("tcp", "tls") or not has_place:
        raise ValueError(
            "must be the address of a Dask scheduler such as tcp://127.0.0.1:8786"
        )
    return address


def _variable(name: str) -> str:
    if not name.isidentifier():
        raise ValueError(
            "must be the name of an environment variable; the key itself must not be in a config"
        )
    return name


def _codes_by_req_key(value: Any) -> Any:
    """Put rules that stand directly under `retry.codes` under `*`: they are about every operation."""
    if not isinstance(value, Mapping):
        return value
    rules = {key: rule for key, rule in value.items() if _is_code_rule(rule)}
    of_operations = {
        str(key): _with_text_keys(named)
        for key, named in value.items()
        if key not in rules
    }
    every = {**_with_text_keys(rules), **of_operations.get(ANY_REQ_KEY, {})}
    return {**of_operations, **({ANY_REQ_KEY: every} if every else {})}


def _is_code_rule(value: Any) -> bool:
    return not isinstance(value, Mapping) or value.keys() <= {"verdict", "charged"}


def _with_text_keys(value: Any) -> Any:
    return (
        {str(key): rule for key, rule in value.items()}
        if isinstance(value, Mapping)
        else value
    )


def _code_rule(value: Any) -> Any:
    return {"verdict": value} if isinstance(value, str) else value


def _yes_or_no(value: Any) -> Any:
    return (
        {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
    )  # YAML's own reading of yes and no


def _not_success(code: str) -> str:
    if code == "10000":
        raise ValueError("always means success")
    return code


class Input(Section):
    """Where the rows come from and which columns the request reads."""

    path: Annotated[str, AfterValidator(input_url)]
    row_key: tuple[str, ...] = ()
    columns: dict[str, Columns] = {"image_url": "image_url", "prompt": "prompt"}
    images: Literal["url", "check", "keep"] = "url"
    encoding: str = "utf-8"
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    where: str | None = None
    max_invalid: Allotment = 0.05
    max_prompt_chars: Annotated[int, Field(gt=0)] = 4000
    warn_prompt_chars: Annotated[int, Field(gt=0)] = 800
    ignore_url_params: tuple[str, ...] = ()

    @property
    def image_columns(self) -> tuple[str, ...]:
        """The columns of the input images, in the order in which they are sent."""
        mapped = self.columns.get(
            "image_file" if self.local_images else "image_url", ()
        )
        return (mapped,) if isinstance(mapped, str) else mapped

    @property
    def local_images(self) -> bool:
        """Whether input images are files beside the table rather than URLs."""
        return "image_file" in self.columns

    @property
    def field_columns(self) -> dict[str, str]:
        """The request fields that a row sets: dotted path to column."""
        special = {"image_url", "image_file", "prompt", "seed"}
        return {
            path: str(column)
            for path, column in self.columns.items()
            if path not in special
        }

    def column(self, role: Literal["prompt", "seed"]) -> str | None:
        """The column that plays `role`, or `None`."""
        mapped = self.columns.get(role)
        return mapped if isinstance(mapped, str) else None


class Provider(Section):
    """Who answers. Keys never stand here: `api_key_env` and `api_key_file` say where the key is found."""

    kind: Literal["simulator", "gateway", "volcengine"] = "simulator"
    base_url: Annotated[str, AfterValidator(_base_url)] | None = None
    account: str | None = None
    api_key_env: Annotated[str, AfterValidator(_variable)] = "PIXMILL_API_KEY"
    api_key_file: Annotated[str, AfterValidator(local_path)] | None = None


class Limits(Section):
    """Ceilings on what the provider is asked for at once."""

    qps: Annotated[float, Field(gt=0)] = 2
    concurrency: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] = 4
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 120


class CodeRule(Section):
    """What a provider's code means in place of what the table of codes says; `None` leaves that as it is."""

    verdict: (
        Literal[
            "retry",
            "throttle_rate",
            "throttle_concurrency",
            "refused",
            "failed",
            "stop",
            "in_doubt",
        ]
        | None
    ) = None
    charged: Annotated[
        Literal["yes", "no", "unknown"] | None, BeforeValidator(_yes_or_no)
    ] = None

    @model_validator(mode="after")
    def _says_something(self) -> "CodeRule":
        if self.verdict is None and self.charged is None:
            raise ValueError("needs a verdict, or charged: yes, no or unknown")
        return self


Code = Annotated[str, AfterValidator(_not_success)]
CodeRules = dict[Code, Annotated[CodeRule, BeforeValidator(_code_rule)]]


class Retry(Section):
    """How often a job is tried in one run, and in how many runs; `codes` is by `req_key`, or `*` for all."""

    max_attempts: Annotated[int, Field(ge=1, le=100)] = 4
    max_runs: Annotated[int, Field(ge=1)] = 3
    rerolls: Annotated[int, Field(ge=0)] = 2
    codes: Annotated[dict[str, CodeRules], BeforeValidator(_codes_by_req_key)] = {}


class Budget(Section):
    """What may be spent, and the price by which it is counted."""

    max_calls: Annotated[int, Field(ge=0)] | None = None
    max_cost: Annotated[float, Field(ge=0)] | None = None
    max_cost_per_month: Annotated[float, Field(ge=0)] | None = None
    price_per_call: Annotated[float, Field(ge=0)] | None = None
    currency: str = "CNY"
    timezone: Annotated[str, AfterValidator(_zone)] = "Asia/Shanghai"

    @property
    def allowed_calls(self) -> int | None:
        """How many calls one run may make under `max_calls` and `max_cost`; `None` is no cap."""
        caps = [] if self.max_calls is None else [self.max_calls]
        if self.max_cost is not None and self.price_per_call:
            caps.append(int(self.max_cost / self.price_per_call + 1e-9))
        return min(caps, default=None)


class Stop(Section):
    """When so many of the last `window` jobs went wrong that the run stops by itself."""

    failed_fraction: Allotment = 0.5
    refused_fraction: Allotment = 0.5
    window: Annotated[int, Field(ge=1)] = 50


class Accept(Section):
    """Shares of new problems in a run that still exit 0."""

    failed: Allotment = 0
    refused: Allotment = 0
    invalid: Allotment = 0


class Execution(Section):
    """Where the chunks run."""

    engine: Literal["threads", "dask", "ray"] = "threads"
    address: Annotated[str, AfterValidator(_scheduler)] | None = None
    workers: Annotated[int, Field(ge=1)] = 2
    jobs_per_task: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"

    @property
    def is_elsewhere(self) -> bool:
        """Whether `address` leads to other machines."""
        return self.address is not None and not is_loopback(
            urlsplit(self.address).hostname or ""
        )


class Output(Section):
    """What happens to the images of an answer."""

    images: Literal["download", "url", "inline"] = "download"
    allow_hosts: tuple[str, ...] = ()
    keep_versions: Annotated[int, Field(ge=0)] = 10


class Config(Section):
    """One run config. `input`, `request`, `sweep` and `seed` decide what is asked for, the others only how."""

    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]{0,99}$")]
    store: Annotated[str, Field(min_length=1), AfterValidator(store_url)] = "out"
    ledger: Annotated[str, AfterValidator(database_url)] | None = None
    input: Input
    request: Request = Request()
    sweep: Sweep = Sweep()
    seed: Seed = Seed()
    provider: Provider = Provider()
    limits: Limits = Limits()
    retry: Retry = Retry()
    budget: Budget = Budget()
    stop: Stop = Stop()
    accept: Accept = Accept()
    in_doubt: Literal["hold", "retry"] = "hold"
    execution: Execution = Execution()
    output: Output = Output()

    @property
    def simulated(self) -> bool:
        """Whether the built-in simulator answers, so that nothing is paid."""
        return self.provider.kind == "simulator"

    @property
    def bucket(self) -> BucketAddress | None:
        """Where in a bucket the store is, `None` where it is a folder; simulated pictures have a store of their own."""
        place = bucket_address(self.store) if is_bucket_url(self.store) else None
        return place and place.at("simulated" if self.simulated else "")

    @property
    def store_path(self) -> Path:
        """The folder of ledger and images, or this machine's copy of a bucket; see `bucket` for `simulated`."""
        if self.bucket:
            return self.bucket.working_copy
        return Path(self.store) / "simulated" if self.simulated else Path(self.store)

    @property
    def store_name(self) -> str:
        """What to call the store to people."""
        return self.bucket.url if self.bucket else str(self.store_path)

    @property
    def ledger_address(self) -> Path | str:
        """Where the ledger is: a file of the store, or the URL of a database. Simulated runs always have a file."""
        return (
            self.store_path / "ledger.db"
            if self.simulated or self.ledger is None
            else self.ledger
        )

    @property
    def dataset_folder(self) -> Path:
        """The folder in which this config's dataset is published."""
        return self.store_path / self.name

    @property
    def concurrency(self) -> int:
        """The ceiling of the in-flight limit."""
        return (
            AUTO_CONCURRENCY
            if self.limits.concurrency == "auto"
            else self.limits.concurrency
        )

    @property
    def account(self) -> str:
        """The label of the provider account that limits and money belong to."""
        return self.provider.account or self.provider.kind

    def to_yaml(self) -> str:
        """The resolved config as YAML, every default filled in; it holds no secret."""
        return yaml.safe_dump(
            self.model_dump(mode="json"), sort_keys=False, allow_unicode=True
        )
