"""Where a store is, as far as no bucket is needed to say so; `tests/pixmill/storage/bucket` has real ones."""

import sys
from pathlib import Path

import pytest

from pixmill.config.loading import load_config
from pixmill.errors import UserError
from pixmill.execution.worker_pool import resolve_paths
from pixmill.storage import FolderStore, open_store
from pixmill.tables import open_table
from tests.conftest import Project, run_config

BUCKET = "s3://bucket/team"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "pixmill"


def test_what_buckets_need_is_said_where_it_is_not_installed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [
        name for name in sys.modules if name.partition(".")[0] in ("boto3", "botocore")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "boto3", None)
    project.write_rows(project.rows(1))
    with pytest.raises(UserError, match="needs boto3") as store:
        run_config(project.write_config(store="s3://not-installed/team"))
    with pytest.raises(UserError, match="needs boto3") as table:
        open_table("s3://not-installed/pets.csv")
    assert store.value.hint == table.value.hint == "pip install 'pixmill[s3]'"


def test_a_copy_stands_in_the_users_cache_by_server_bucket_and_prefix(
    project: Project, cache: Path
) -> None:
    elsewhere = f"{BUCKET}?endpoint_override=https://minio.example.com:9000"
    for store, folder in ((BUCKET, "aws"), (elsewhere, "minio.example.com_9000")):
        config = load_config(project.write_config(store=store))
        assert (
            config.store_path
            == cache / "stores" / folder / "bucket" / "team" / "simulated"
        )
        assert config.store_name == "s3://bucket/team/simulated"


def test_a_folder_is_a_store_as_it_ever_was(project: Project) -> None:
    config = load_config(project.write_config())
    store = open_store(config)
    assert isinstance(store, FolderStore)
    assert store.folder == config.store_path
    assert store.display_name(config.dataset_folder) == str(config.dataset_folder)


def test_workers_elsewhere_get_the_bucket_and_not_a_path(project: Project) -> None:
    assert (
        resolve_paths(load_config(project.write_config(store=BUCKET))).store == BUCKET
    )


def test_a_folder_for_copies_that_can_not_be_made_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("boto3")
    (project.folder / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.folder / "file"))
    with pytest.raises(
        UserError, match=r"can't be kept in .*/file/pixmill: Not a directory"
    ) as told:
        open_store(load_config(project.write_config(store=BUCKET)))
    assert "XDG_CACHE_HOME" in told.value.hint


def test_a_user_without_a_home_is_told_what_to_set(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UserError) as told:
        _ = load_config(project.write_config(store=BUCKET)).store_path
    assert "XDG_CACHE_HOME" in told.value.hint
