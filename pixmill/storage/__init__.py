"""The store: images and published datasets, in a folder of this machine or in a bucket.

Code that works with files goes on doing so. Of a bucket it works on a copy in a folder, which the
store keeps up to date.
"""

from pixmill.config.bucket_address import BucketAddress
from pixmill.config.model import Config
from pixmill.storage.base import NotYetStored, Store
from pixmill.storage.folder import FolderStore

__all__ = ["FolderStore", "NotYetStored", "Store", "open_bucket", "open_store"]


def open_store(config: Config) -> Store:
    """Return the store of a config. Raises UserError where a bucket needs what is not installed."""
    return (
        open_bucket(config.bucket) if config.bucket else FolderStore(config.store_path)
    )


def open_bucket(address: BucketAddress) -> Store:
    """Return the store at a place in a bucket."""
    from pixmill.storage.bucket import BucketStore  # not for stores that are folders

    return BucketStore(address)
