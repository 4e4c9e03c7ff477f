"""Tasks: what was published, brought back where it is missing and read again. Neither pays."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixmill.config.model import Config
from pixmill.datasets.verification import verify
from pixmill.execution.repair import repair


@task(cache_policy=NO_CACHE, persist_result=False)
def repair_images(config: Config) -> dict[str, Any]:
    """Fetch the images that are not there while their URLs live; return what `pixmill
    repair --json` says.
    """
    return repair(config).as_dict()


@task(cache_policy=NO_CACHE, persist_result=False)
def verify_dataset(config: Config) -> dict[str, Any]:
    """Read dataset, history, images and ledger again; return what `pixmill verify --json` says."""
    return verify(config).as_dict()
