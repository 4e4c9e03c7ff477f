"""The run config as a frozen model: its sections, their keys, types and defaults.

`pixmill.config.loading` reads one from YAML and reports what is wrong with it. `docs/config.md` explains the keys.
"""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from pixmill.config.bucket_address import (
    BucketAddress,
    bucket_address,
    is_bucket_url,
    is_loopback,
)
from pixmill.config.field_types import (
    Amount,
    BaseUrl,
    ChargedSpelling,
    Code,
    Condition,
    ConfigName,
    Count,
    Currency,
    DatabaseUrl,
    GateCondition,
    InputPath,
    LocalPath,
    PageUrl,
    RulesByReqKey,
    RuleShorthand,
    Scheduler,
    Share,
    StorePlace,
    TimeZone,
    UrlPath,
    VariableName,
)
from pixmill.config.yaml_writer import write_yaml
from pixmill.request.model import Request, Section, Seed, Sweep

AUTO_CONCURRENCY = 256
"""The ceiling of the in-flight limit with `concurrency: auto`: more than any account is known to get."""


class Input(Section):
    """Where the rows come from and which columns the request reads."""

    path: InputPath
    """A file, a glob or a folder, on this machine or in a bucket."""
    row_key: tuple[str, ...] = ()
    """Columns by which the owner knows a row; without any, those that the request reads."""
    columns: dict[str, str | tuple[str, ...]] = {
        "image_url": "image_url",
        "prompt": "prompt",
    }
    """Column of each role (`image_url` or `image_file`, `prompt`, `seed`) and of request fields by dotted path."""
    image_folder: LocalPath | None = None
    """The folder to which paths of `image_file` are relative, and in which they lie; `None`: that of the table."""
    images: Literal["url", "check", "keep"] = "url"
    """Whether input images are fetched before anything is paid, and whether they are stored."""
    encoding: str = "utf-8"
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """`None` is a tab for `.tsv`, else a comma."""
    where: str | None = None
    """A condition over columns; rows that do not meet it are left out."""
    max_invalid: Share = 0.05
    """The largest share of invalid rows with which a run pays."""
    max_prompt_chars: Annotated[int, Field(gt=0)] = 4000
    """Longer prompts are invalid."""
    warn_prompt_chars: Annotated[int, Field(gt=0)] = 800
    """Longer prompts get a warning: some operations refuse more than 800 characters (code 50200)."""
    allow_empty: tuple[str, ...] = ()
    """Columns of `request.prompt` that may be empty; a row in which another one is empty is invalid."""
    ignore_url_params: tuple[str, ...] = ()
    """Query parameters of image URLs that do not make another image, such as signatures."""

    @property
    def image_columns(self) -> tuple[str, ...]:
        """The columns of the input images, in the order in which they are sent."""
        role = "image_file" if self.local_images else "image_url"
        mapped = self.columns.get(role, ())
        return (mapped,) if isinstance(mapped, str) else mapped

    @property
    def local_images(self) -> bool:
        """Whether input images are files beside the table rather than URLs."""
        return "image_file" in self.columns

    @property
    def looks_at_images(self) -> bool:
        """Whether input images are looked at before anything is paid."""
        return bool(self.image_columns) and (self.images != "url" or self.local_images)

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
    """Who answers. Keys are never in a config: `api_key_env` and `api_key_file` say where the key is found."""

    kind: Literal["simulator", "gateway", "volcengine"] = "simulator"
    base_url: BaseUrl | None = None
    """Required for a gateway, which has no address of its own."""
    path: UrlPath = "/volcv/v1"
    """The path of a gateway at which it takes the calls; the query names the action."""
    account: str | None = None
    """Label of the account that limits and money belong to; `None` is the kind."""
    api_key_env: VariableName = "PIXMILL_API_KEY"
    api_key_file: LocalPath | None = None
    """Takes precedence over `api_key_env`: a file can be rotated under a run."""


class Limits(Section):
    """Ceilings on what the provider is asked for at once."""

    qps: Annotated[float, Field(gt=0)] = 2
    """Calls per second."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] = 4
    """Calls in flight; `auto` finds the limit by itself."""
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 120
    """Total time of one call. A claim of a process on another host expires after three times this."""
    poll_qps: Annotated[float, Field(gt=0)] = 10
    """Polls per second, of all the tasks of one process together."""
    poll_seconds: Annotated[float, Field(gt=0, le=3600)] = 2
    """The longest pause between two polls of a task, except for the first."""
    task_timeout_seconds: Annotated[float, Field(gt=0, le=43_200)] = 600
    """How long a run waits for a task, from its submit; then the next run asks for it."""


class CodeRule(Section):
    """What a provider's code means instead of what the table of codes says; `None` leaves that as it is."""

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
    charged: Annotated[Literal["yes", "no", "unknown"] | None, ChargedSpelling] = None

    @model_validator(mode="after")
    def _says_something(self) -> "CodeRule":
        if self.verdict is None and self.charged is None:
            raise ValueError("needs a verdict, or charged: yes, no or unknown")
        return self


CodeRules = dict[Code, Annotated[CodeRule, RuleShorthand]]


class Retry(Section):
    """How often a job is tried in one run, and in how many runs."""

    max_attempts: Annotated[int, Field(ge=1, le=100)] = 4
    """Calls for a job in one run; throttled ones do not count."""
    max_runs: Count = 3
    """Runs that try a job again whose failure may be temporary."""
    rerolls: Annotated[int, Field(ge=0)] = 2
    """New draws of an output that moderation refused, over all runs."""
    codes: Annotated[dict[str, CodeRules], RulesByReqKey] = {}
    """Rules about codes by `req_key`, or `*` for all."""


class Price(Section):
    """What calls cost to which this applies: all of `req_key` whose parameters meet `where`."""

    req_key: str | None = None
    """`None`: of every operation."""
    where: Condition | None = None
    """A condition over the parameters of the request, by dotted path: `width * height > 1048576`."""
    price: Amount
    per: Literal["call", "image"] = "call"
    """What the provider charges for: a call, or each image of its answer."""

    def covers(self, req_key: str) -> bool:
        """Whether it is a price of `req_key`."""
        return self.req_key in (None, req_key)


class Budget(Section):
    """What may be spent, and the prices by which it is counted."""

    max_calls: Annotated[int, Field(ge=0)] | None = None
    """HTTP calls of one run."""
    max_cost: Amount | None = None
    """Money of one run."""
    max_cost_per_month: Amount | None = None
    """Money of the account since the month began, over all runs, configs and processes of the ledger."""
    price_per_call: Amount | None = None
    """Of calls that none of `prices` applies to. Without any, cost is unknown, never 0."""
    prices: tuple[Price, ...] = ()
    """The first that applies to a job is its price."""
    currency: Currency = "CNY"
    timezone: TimeZone = "Asia/Shanghai"
    """Where a month begins. The provider's own bill is in this zone."""

    @property
    def has_cap(self) -> bool:
        """Whether there is an end to what one run may spend."""
        return self.max_calls is not None or self.max_cost is not None

    @property
    def highest_price(self) -> Decimal | None:
        """The highest of all prices, `None` where none is known."""
        prices = [price.price for price in self.prices]
        if self.price_per_call is not None:
            prices.append(self.price_per_call)
        return max(prices, default=None)

    def has_price_of(self, req_key: str) -> bool:
        """Whether every call of `req_key` has a price, whatever its parameters are."""
        always = any(
            price.covers(req_key) and price.where is None for price in self.prices
        )
        return always or self.price_per_call is not None

    def may_charge_images(self, req_key: str) -> bool:
        """Whether a call of `req_key` may cost so much an image."""
        for price in self.prices:
            if price.covers(req_key):
                if price.per == "image":
                    return True
                if price.where is None:
                    # No entry after this one applies.
                    return False
        return False


class Stop(Section):
    """When so many of the last `window` jobs went wrong that the run stops by itself."""

    failed_fraction: Share = 0.5
    """Share that failed or is in doubt; a larger one stops the run."""
    refused_fraction: Share = 0.5
    window: Count = 50
    """Jobs that are looked at."""
    images: Count = 5
    """Output images in a row that their host does not give, after which nothing more is paid."""


class Accept(Section):
    """Shares of new problems with which a run still exits 0."""

    failed: Share = 0
    refused: Share = 0
    invalid: Share = 0


class Until(Section):
    """How good the picture of a row has to be, and how many candidates it may have until one is."""

    where: Condition
    """A condition over scores, flags and `status`: a candidate that meets it is accepted."""
    candidates: Annotated[int, Field(ge=1, le=100)]
    """How many a row has at most, at each point of a sweep."""
    keep: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")] = "first"
    """Which of several is in the dataset: the `first`, or the one with the highest score of this
    name."""

    @property
    def kept_by(self) -> str | None:
        """The column whose highest value is kept, `None` for the first candidate."""
        if self.keep == "first":
            return None
        return f"score_{self.keep.removeprefix('score_')}"


class Quality(Section):
    """What is found out about output images, and what is made of it."""

    checks: tuple[
        Literal["blank", "dark", "blurred", "unchanged", "duplicate"], ...
    ] = ()
    """Built-in checks: each makes a column `score_<name>` and a column `flag_<name>`."""
    scorers: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")],
        Annotated[str, Field(min_length=1)],
    ] = {}
    """Scorers of your own by the name of their column: `module:function`, `file.py:function`, or
    the name of an entry point."""
    gate: tuple[GateCondition, ...] = ()
    """Conditions over a new dataset; one for which some does not hold is not published."""
    until: Until | None = None
    """When a row's picture is good; until one is, further candidates are paid for."""

    @property
    def columns_of_candidates(self) -> list[str]:
        """The columns of scores and flags that say something of a picture by itself, as far as the
        names of scores are known before there are any."""
        checks = [name for name in dict.fromkeys(self.checks) if name != "duplicate"]
        named = [f"{kind}_{name}" for name in checks for kind in ("score", "flag")]
        return [*named, *(f"score_{name}" for name in self.scorers)]


class Notify(Section):
    """Who is told how a run went, beside whoever reads its output."""

    on: tuple[Literal["problems", "always"], ...] = ("problems",)
    """`problems`: after runs whose exit code is not 0."""
    to: tuple[VariableName, ...] = ()
    """Environment variables with Apprise URLs, which hold passwords and so are never in a config."""


class Execution(Section):
    """Where the chunks run."""

    engine: Literal["threads", "dask", "ray"] = "threads"
    address: Scheduler | None = None
    """A running Dask scheduler; `None` starts workers on this machine."""
    workers: Count = 2
    """Processes that are started on this machine."""
    jobs_per_task: Count | Literal["auto"] = "auto"
    """Jobs of one Prefect task run."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether `address` leads to other machines."""
        host = urlsplit(self.address or "").hostname or ""
        return self.address is not None and not is_loopback(host)


class Output(Section):
    """What happens to the images of an answer."""

    images: Literal["download", "url", "inline"] = "download"
    """`url` fetches nothing; with `inline` the answer itself contains the image."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts that may serve images from private addresses, over plain http or from odd ports."""
    keep_versions: Annotated[int, Field(ge=0)] = 10
    """Earlier datasets in `history/`."""
    report_url: PageUrl | None = None
    """Where a browser finds the store's files, for links to reports."""


class Config(Section):
    """One run config. `input`, `request`, `sweep` and `seed` decide what is requested, the others only how."""

    version: Literal[1] = 1
    """Of this format."""
    name: ConfigName
    """Names the dataset's folder in the store."""
    store: StorePlace = "out"
    """Folder or place in a bucket, for images, datasets and, unless `ledger` is set, the ledger."""
    ledger: DatabaseUrl | None = None
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
    """Whether jobs that may have been charged are sent again by every run."""
    quality: Quality = Quality()
    notify: Notify = Notify()
    execution: Execution = Execution()
    output: Output = Output()

    @property
    def simulated(self) -> bool:
        """Whether the built-in simulator answers, so that nothing is paid."""
        return self.provider.kind == "simulator"

    @property
    def bucket(self) -> BucketAddress | None:
        """Where in a bucket the store is, `None` where it is a folder; simulated pictures have a store of their own."""
        if not is_bucket_url(self.store):
            return None
        place = bucket_address(self.store)
        return place.at("simulated") if self.simulated else place

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
    def report_address(self) -> str | None:
        """Where a browser opens the report, `None` where the config does not say."""
        if self.output.report_url is None:
            return None
        folder = f"simulated/{self.name}" if self.simulated else self.name
        return f"{self.output.report_url}/{folder}/report/index.html"

    @property
    def ledger_address(self) -> Path | str:
        """Where the ledger is: a file of the store, or the URL of a database. Simulated runs always have a file."""
        if self.simulated or self.ledger is None:
            return self.store_path / "ledger.db"
        return self.ledger

    @property
    def dataset_folder(self) -> Path:
        """The folder in which this config's dataset is published."""
        return self.store_path / self.name

    @property
    def concurrency(self) -> int:
        """The ceiling of the in-flight limit."""
        if self.limits.concurrency == "auto":
            return AUTO_CONCURRENCY
        return self.limits.concurrency

    @property
    def replicates(self) -> int:
        """How many requests that differ in their seeds a row may become at each point: replicates,
        or the candidates of `quality.until`."""
        until = self.quality.until
        return until.candidates if until else self.seed.replicates

    @property
    def account(self) -> str:
        """The label of the provider account that limits and money belong to."""
        return self.provider.account or self.provider.kind

    def to_yaml(self) -> str:
        """The resolved config as YAML, every default filled in; it contains no secret."""
        return write_yaml(self.model_dump(mode="json"))
