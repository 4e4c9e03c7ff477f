"""The command `status`: how far a dataset is, from any terminal."""

from pixmill.cli.console import (
    SIMULATED,
    ConfigPath,
    Json,
    Overrides,
    echo,
    print_json,
    print_problem_rows,
)
from pixmill.text import cli_arguments, in_words

COUNTS = ("pending", "failed", "refused", "in_doubt", "images_missing", "invalid")
"""What is printed of a plan's counts where it is not 0."""


def status(
    config: ConfigPath, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Show how far the dataset is and how the last runs went."""
    from pixmill.config.loading import load_config
    from pixmill.execution.known_ledger import RESTORE
    from pixmill.execution.run_summary import refusal
    from pixmill.execution.status import read_status
    from pixmill.execution.stop_reasons import tasks_left

    found = read_status(load_config(config, overrides or ()))
    counts = found.plan.summary()
    # Paid for is not there: an image may still be on its way, or be lost.
    stored = counts["cached"] - counts["images_missing"]
    config_of = found.plan.config
    badge = SIMULATED if config_of.simulated else ""
    echo(f"{badge}{config_of.name}: {stored:,} of {counts['distinct']:,} images stored")
    if found.known_ledger.lost_images:
        echo(f"warning: {found.known_ledger.describe_loss(config_of.name)}; {RESTORE}")
    for name in COUNTS:
        if counts[name]:
            echo(f"  {in_words(name)}: {counts[name]:,}")
        if name == "images_missing" and found.image_refusal:
            echo(f"      not fetched: {found.image_refusal}")
    if tasks := len(found.plan.submitted):
        echo(f"      {tasks_left(tasks)}")
    # Those in doubt are listed with what the console shows of them.
    print_problem_rows(
        config_of,
        counts["failed"] + counts["refused"],
        ("failed", "refused"),
    )
    if found.in_doubt_jobs:
        # As a person looks for them on the provider's console.
        echo(
            "  may have been charged, as no answer was seen (sent, row, request id, why):"
        )
        for call in found.in_doubt_jobs:
            echo(f"      {call.describe()}")
        more = counts["in_doubt"] - len(found.in_doubt_jobs)
        if more > 0:
            echo(f"      … and {more:,} more")
    if found.gate:
        echo(f"  a dataset is not published: {refusal(found.gate)}")
    elif found.accepted:
        echo(
            "  the published dataset was accepted by a person after the gate refused it"
        )
    for run in found.runs:
        echo(f"  {run.describe()}")
        for line in run.describe_limits():
            echo(f"      {line}")
    echo(f"next: {found.next_command(cli_arguments(config, overrides or ()))}")
    if as_json:
        runs = [run.as_dict() for run in found.runs]
        in_doubt_jobs = [doubt.as_dict() for doubt in found.in_doubt_jobs]
        said = {**counts, "doubts": in_doubt_jobs, "runs": runs}
        if found.gate:
            said["gate"] = found.gate.as_dict()
        print_json(said)
