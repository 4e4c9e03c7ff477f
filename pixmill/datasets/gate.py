"""The gate before publication: whether a new dataset meets the conditions of `quality.gate`.

A dataset that does not is not published: it lies in `refused/` beside the one that is, with its
report, until the next one that meets them, or until a person accepts it (`pixmill publish --accept`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pixmill.conditions import (
    AggregateCondition,
    AggregateValues,
    ConditionResult,
    parse_aggregates,
)
from pixmill.config.model import Config
from pixmill.datasets.candidate_columns import extra_fields
from pixmill.datasets.schema import result_schema
from pixmill.datasets.score_columns import empty_score_columns
from pixmill.errors import ConfigError
from pixmill.planning.plan import Plan
from pixmill.request.registry import did_you_mean


class Gate(NamedTuple):
    """What the conditions of a config came to for one dataset."""

    results: tuple[ConditionResult, ...]
    """One for each condition, in the order of the config."""

    accepted: tuple[ConditionResult, ...] = ()
    """Those that do not hold, and that a person accepted with just these figures."""

    @property
    def failed(self) -> tuple[ConditionResult, ...]:
        """The conditions for which a dataset is refused."""
        return tuple(
            result
            for result in self.results
            if not result.holds and result not in self.accepted
        )

    def accept(self) -> "Gate":
        """Return it as a person leaves it who accepts the dataset."""
        failed = [result for result in self.results if not result.holds]
        return Gate(self.results, tuple(failed))

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values, as manifests and `run --json` have it."""
        return {
            "passed": not self.failed,
            "conditions": [
                {**result._asdict(), "accepted": result in self.accepted}
                for result in self.results
            ],
        }


def gate_of(manifest: Mapping[str, Any]) -> Gate | None:
    """Return the gate that a dataset went through by its manifest, None where there was none."""
    results = []
    accepted = []
    try:
        for said in manifest["gate"]["conditions"]:
            result = ConditionResult(
                said["condition"], said["holds"], said["figures"], said["problem"]
            )
            results.append(result)
            if said["accepted"]:
                accepted.append(result)
    except (KeyError, TypeError):
        # Made without conditions, by an earlier version, or edited by somebody.
        return None
    return Gate(tuple(results), tuple(accepted))


def in_figures(figures: Mapping[str, float | None]) -> str:
    """Return figures as people read them: `mean(score_x) = 0.187`."""
    return ", ".join(
        f"{name} has no value" if value is None else f"{name} = {value:,.4g}"
        for name, value in figures.items()
    )


def check_gate(
    config: Config,
    dataset: Path,
    published: Path | None,
    before: Gate | None,
) -> Gate | None:
    """Return what the conditions of `config` came to for the file `dataset`, None without conditions.

    `published` is the file that it is to replace, None where there is none, and `before` the gate
    that this went through: what a person accepted there stays accepted while its figures are the
    same.
    """
    conditions = [parse_aggregates(text) for text in config.quality.gate]
    if not conditions:
        return None
    with pq.ParquetFile(dataset) as new:
        results = tuple(
            condition.check(
                _columns(new, condition),
                new.metadata.num_rows,
                _values_before(condition, published),
            )
            for condition in conditions
        )
    known = before.accepted if before else ()
    return Gate(results, tuple(result for result in results if result in known))


def _values_before(
    condition: AggregateCondition, published: Path | None
) -> AggregateValues | None:
    if published is None or not condition.reads_previous:
        return None
    try:
        with pq.ParquetFile(published) as old:
            columns = _columns(old, condition)
            return condition.values(columns, old.metadata.num_rows)
    except ValueError:
        # Its column of this name is of another kind: nothing to compare with.
        return None


def _columns(
    dataset: pq.ParquetFile, condition: AggregateCondition
) -> dict[str, pa.ChunkedArray]:
    """Return the columns that a condition reads, without a value in any row where there is none of
    a name: how many scores a scorer gives is known when it has scored something."""
    # Only these: all of a dataset need not fit into memory.
    there = condition.names & set(dataset.schema_arrow.names)
    table = dataset.read(columns=sorted(there))
    nothing = pa.chunked_array([pa.nulls(dataset.metadata.num_rows)])
    return {name: table[name] if name in there else nothing for name in condition.names}


def check_gate_columns(plan: Plan) -> None:
    """Raise ConfigError where a condition reads a column that the dataset won't have."""
    config = plan.config
    # Its schema is made for nothing then, as of most configs.
    if not config.quality.gate:
        return
    extra = extra_fields(config, empty_score_columns(config))
    columns = result_schema(plan.table.schema, plan.expander.sweep.axes, extra).names
    # A scorer that returns several numbers names them itself.
    several = tuple(f"score_{name}_" for name in config.quality.scorers)
    for number, text in enumerate(config.quality.gate):
        for name in sorted(parse_aggregates(text).names):
            if name not in columns and not name.startswith(several):
                raise ConfigError(
                    f"quality.gate.{number}: {text!r} reads {name!r}, which is not a column of the "
                    f"dataset{did_you_mean(name, columns)}",
                    hint="docs/dataset-columns.md lists its columns; those of the table are "
                    "there as well",
                )
