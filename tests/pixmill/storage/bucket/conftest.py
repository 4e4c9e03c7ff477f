"""What the tests of buckets share."""

import pytest

from tests.bucket import Bucket, bucket, cloud, impatient, moto_url, proxy
from tests.conftest import Project, Simulated
from tests.postgres import database_url, postgres

__all__ = [
    "bucket",
    "cloud",
    "database_url",
    "impatient",
    "moto_url",
    "postgres",
    "proxy",
]


@pytest.fixture
def shop(
    project: Project,
    bucket: Bucket,
    simulated: Simulated,
    database_url: str,
    request: pytest.FixtureRequest,
) -> Project:
    """A project of `ROWS` of the module, whose store is the bucket, and whose provider is a simulator
    that has to be paid."""
    project.write_rows(project.rows(request.module.ROWS))
    project.use_simulator(simulated)
    project.write_config(store=bucket.url("team"), ledger=database_url)
    return project
