"""What the tests of buckets share."""

from tests.bucket import bucket, cloud, impatient, moto_url, proxy
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
