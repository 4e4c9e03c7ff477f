"""Writing and reading objects while the server fails: nothing is lost, nothing of others is overwritten."""

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from pixmill.config.bucket_address import bucket_address
from pixmill.errors import StoreError, UserError
from pixmill.storage import Store, open_bucket
from pixmill.storage import s3_objects as objects
from pixmill.storage.image_store import ImageFile
from pixmill.storage.integrity import NamedImage
from pixmill.storage.s3_objects import ABSENT, Objects, PreconditionFailed, Seen
from tests.bucket import SECRET, Bucket, Fault
from tests.pixmill.sample_pictures import JPEG, picture

boto = pytest.importorskip("botocore.exceptions")
pytestmark = pytest.mark.stack
PNG = picture("PNG")

OLD, NEW = b"what was there", b"what comes"


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


@pytest.fixture
def at(bucket: Bucket) -> Objects:
    return Objects(bucket_address(bucket.url("team")))


@pytest.fixture
def store(bucket: Bucket) -> Store:
    return open_bucket(bucket_address(bucket.url("team")))


def put(at: Objects, data: bytes, condition: dict[str, str] | None = None) -> None:
    at.put(
        "one",
        data,
        digest(data),
        ABSENT if condition is None else condition,
        "text/plain",
    )


def named(image: ImageFile) -> NamedImage:
    return NamedImage(image.file_name, image.bytes)


# The server of these tests


@pytest.mark.parametrize("condition", [{"IfNoneMatch": "*"}, {"IfMatch": '"another"'}])
def test_the_server_of_these_tests_honours_conditions(
    bucket: Bucket, condition: dict[str, str]
) -> None:
    """Versions before 5.2.5 answered 500, and others ignore them: every test here would mean nothing."""
    bucket.put("k", OLD)
    with pytest.raises(boto.ClientError) as refused:
        bucket.client.put_object(Bucket=bucket.name, Key="k", Body=NEW, **condition)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert bucket.get("k") == OLD


# Writes


def test_what_was_written_is_described_by_its_checksum(
    at: Objects, bucket: Bucket
) -> None:
    put(at, NEW)
    seen = at.look("one")
    assert seen
    assert (seen.size, seen.sha256) == (len(NEW), digest(NEW))
    assert bucket.get("team/one") == NEW


def test_an_object_of_others_is_never_overwritten(at: Objects, bucket: Bucket) -> None:
    bucket.put("team/one", OLD)
    with pytest.raises(PreconditionFailed):
        put(at, NEW)
    with pytest.raises(PreconditionFailed):
        put(at, NEW, {"IfMatch": '"an older one"'})
    assert bucket.get("team/one") == OLD


def test_an_object_that_is_gone_is_no_more_what_was_seen(at: Objects) -> None:
    with pytest.raises(PreconditionFailed):
        put(at, NEW, {"IfMatch": '"an older one"'})


@pytest.mark.parametrize("answer", [503, 500, 409, "lost"])
def test_a_write_that_meets_a_passing_fault_happens_once(
    at: Objects, bucket: Bucket, answer: int
) -> None:
    """B11, B12: SlowDown, an internal error, a clash with another write, an answer that never came."""
    bucket.proxy.faults = [Fault("PUT", "/one", answer, 2)]
    put(at, NEW)
    assert bucket.get("team/one") == NEW
    assert bucket.proxy.count("PUT", "/one") >= 2


def test_a_lost_answer_to_a_conditional_overwrite_is_settled_by_looking(
    at: Objects, bucket: Bucket
) -> None:
    """B11: the repeated write meets its own first one and is told 412."""
    bucket.put("team/one", OLD)
    seen = at.look("one")
    assert seen
    bucket.proxy.faults = [Fault("PUT", "/one", "lost")]
    put(at, NEW, dict(seen.unchanged))
    assert bucket.get("team/one") == NEW
    assert [status for method, _, status in bucket.proxy.seen if method == "PUT"] == [
        200,
        412,
    ]


def test_a_write_that_meets_nothing_but_faults_is_an_error_without_the_key(
    bucket: Bucket, impatient: None
) -> None:
    at = Objects(bucket_address(bucket.url("team")))
    bucket.proxy.faults = [Fault("PUT", "/one", 503, 100)]
    with pytest.raises(StoreError, match="503 SlowDown") as failed:
        put(at, NEW)
    assert f"s3://{bucket.name}/team/one" in str(failed.value)
    assert SECRET not in str(failed.value)
    # As it is set for all tests of buckets: fewer than in earnest.
    attempts = objects.BUCKET_ATTEMPTS  # type: ignore[attr-defined]
    assert bucket.proxy.count("PUT", "/one") == attempts == 2


def test_what_is_not_allowed_is_an_error_at_once_that_names_it(
    at: Objects, bucket: Bucket
) -> None:
    bucket.proxy.faults = [Fault("PUT", "/one", 403, 100)]
    with pytest.raises(
        UserError,
        match=r"can't write s3://.*/one: the answer is 403 AccessDenied \(on purpose\)",
    ):
        put(at, NEW)
    assert bucket.proxy.count("PUT", "/one") == 1


def test_a_bucket_that_is_not_there_is_named(bucket: Bucket) -> None:
    nowhere = Objects(
        bucket_address(f"s3://no-such-bucket/x?endpoint_override={bucket.proxy.url}")
    )
    with pytest.raises(UserError, match="there is no bucket 'no-such-bucket'"):
        put(nowhere, NEW)
    with pytest.raises(UserError, match="there is no bucket"):
        list(nowhere.list())


def test_more_than_one_write_can_hold_is_refused(
    at: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "LARGEST", 3)
    (tmp_path / "large").write_bytes(NEW)
    with pytest.raises(StoreError, match="has 10 bytes; one write can hold at most 3"):
        at.put("one", tmp_path / "large", digest(NEW), ABSENT, "text/plain")


def test_plain_http_goes_to_this_machine_only(
    cloud: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://minio.example.com")
    objects._client.cache_clear()
    with pytest.raises(UserError, match="must be https"):
        Objects(bucket_address("s3://bucket/x"))
    objects._client.cache_clear()


def test_without_keys_it_says_where_they_are_looked_for(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    objects._client.cache_clear()
    with pytest.raises(UserError) as refused:
        Objects(bucket_address(bucket.url("nobody"))).look("one")
    assert "AWS_ACCESS_KEY_ID" in refused.value.hint
    objects._client.cache_clear()


# Reads


def test_a_listing_goes_on_beyond_its_first_page(
    at: Objects, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PAGE", 2)
    names = [f"many/{number}" for number in range(5)]
    for name in names:
        bucket.put(f"team/{name}", b"x")
    assert [one.name for one in at.list("many/")] == names
    assert bucket.proxy.count("GET", "list-type=2") == 3


@pytest.mark.parametrize("fault", ["lost", "cut", 503])
def test_a_read_that_breaks_off_is_made_again(
    at: Objects, bucket: Bucket, tmp_path: Path, fault: int
) -> None:
    put(at, NEW)
    bucket.proxy.faults = [Fault("GET", "/one", fault, 2)]
    assert at.fetch("one", tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == NEW


def test_a_disk_that_takes_no_copy_is_named(at: Objects, tmp_path: Path) -> None:
    put(at, NEW)
    (tmp_path / "file").touch()
    with pytest.raises(
        StoreError, match=r"no copy of s3://.*/one can be kept in .*/file: "
    ):
        at.fetch("one", tmp_path / "file" / "here")


def test_what_is_not_there_leaves_no_file(at: Objects, tmp_path: Path) -> None:
    assert at.fetch("one", tmp_path / "here") is None
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_keeps_no_checksums_is_read_instead(
    at: Objects, bucket: Bucket
) -> None:
    bucket.proxy.mute = ("x-amz-checksum",)
    put(at, NEW)
    seen = at.look("one")
    assert seen == Seen(seen.etag if seen else "", len(NEW), None)
    assert at.sha256("one", seen) == digest(NEW)


# Images


def test_an_image_is_in_the_bucket_before_it_counts_as_stored(
    store: Store, bucket: Bucket
) -> None:
    image = store.save(JPEG)
    assert bucket.get(f"team/{image.file_name}") == JPEG
    assert (
        bucket.client.head_object(Bucket=bucket.name, Key=f"team/{image.file_name}")[
            "ContentType"
        ]
        == "image/jpeg"
    )


def test_an_image_that_could_not_be_written_does_not_count_as_stored(
    store: Store, bucket: Bucket
) -> None:
    bucket.proxy.faults = [Fault("PUT", "/images/", 403)]
    with pytest.raises(StoreError):
        store.save(JPEG)
    assert bucket.keys("team/images") == []


def test_equal_images_are_one_object(store: Store, bucket: Bucket) -> None:
    """412: it is there already."""
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(store.save, [JPEG] * 8))) == 1
    assert len(bucket.keys("team/images")) == 1


@pytest.mark.parametrize("damage", [b"", PNG, JPEG[:-1], JPEG[:-1] + b"\0"])
def test_a_damaged_image_is_found_and_replaced(
    store: Store, bucket: Bucket, damage: bytes
) -> None:
    """What stands under the name of a hash can only be right or damaged."""
    image = store.save(JPEG)
    bucket.put(f"team/{image.file_name}", damage)
    assert store.problem(named(image)) in ("damaged", "wrong_size")
    store.save(JPEG)
    assert store.problem(named(image)) is None
    assert bucket.get(f"team/{image.file_name}") == JPEG


def test_the_bucket_is_asked_about_an_image_and_not_the_copy(
    store: Store, bucket: Bucket
) -> None:
    image = store.save(JPEG)
    bucket.delete(f"team/{image.file_name}")
    assert (store.folder / image.file_name).exists()
    assert store.problem(named(image)) == "missing"


def test_a_damaged_copy_is_brought_again(store: Store) -> None:
    image = store.save(JPEG)
    (store.folder / image.file_name).write_bytes(b"damaged")
    assert store.file(image.file_name).read_bytes() == JPEG


def test_what_is_not_what_its_name_says_is_not_brought(
    store: Store, bucket: Bucket
) -> None:
    image = store.save(JPEG)
    bucket.put(f"team/{image.file_name}", PNG)
    (store.folder / image.file_name).unlink()
    assert not store.file(image.file_name).exists()


@pytest.mark.parametrize(
    "name",
    ["../../secret", "/etc/passwd", "images/ab/../../secret", "images/secret.jpg"],
)
def test_a_name_that_no_store_makes_leads_nowhere(
    store: Store, bucket: Bucket, name: str
) -> None:
    """4.4: datasets are written by whoever may write to the bucket."""
    assert not store.file(name).exists()
    assert store.file(name).parent == store.folder / "images"
    assert store.problem(NamedImage(name, None)) == "foreign_name"
    assert bucket.proxy.seen == []


def test_a_copy_puts_right_what_the_bucket_lost(store: Store, bucket: Bucket) -> None:
    image = store.save(JPEG)
    bucket.delete(f"team/{image.file_name}")
    assert store.restore(image.file_name)
    assert bucket.get(f"team/{image.file_name}") == JPEG


# Before anything is paid


def test_a_server_that_ignores_conditions_is_refused(
    store: Store, bucket: Bucket
) -> None:
    bucket.proxy.deaf = ("if-none-match",)
    with pytest.raises(UserError, match="ignores If-None-Match"):
        store.check_writable()


def test_a_store_may_be_checked_again_and_again(store: Store, bucket: Bucket) -> None:
    store.check_writable()
    store.check_writable()
    assert bucket.keys() == ["team/pixmill-store"]


def test_a_prefix_without_a_store_has_lost_nothing(store: Store) -> None:
    with pytest.raises(UserError, match="there is no store at s3://"):
        store.check_present()
    store.check_writable()
    store.check_present()
