"""The policy in `deployments/` is enough for a run and all that comes after it, and allows nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from pixmill.config.loading import load_config
from pixmill.datasets.export import export
from pixmill.datasets.loading import load_results
from pixmill.datasets.verification import verify
from pixmill.errors import UserError
from pixmill.execution.prepare import prepare
from pixmill.execution.repair import repair
from tests.bucket import moto
from tests.conftest import ROOT, Project, Simulated, run_config

boto3 = pytest.importorskip("boto3")
pytestmark = pytest.mark.stack

POLICY = (
    (ROOT / "deployments" / "s3-policy.json")
    .read_text()
    .replace("BUCKET", "shop")
    .replace("PREFIX", "team")
)


class Account:
    """A server that holds a user to a policy."""

    def __init__(self, url: str) -> None:
        self.url = url
        administrator = {
            "aws_access_key_id": "admin",
            "aws_secret_access_key": "admin",
            "region_name": "us-east-1",
        }
        boto3.client("s3", endpoint_url=url, **administrator).create_bucket(
            Bucket="shop"
        )
        self._iam = boto3.client("iam", endpoint_url=url, **administrator)
        self._iam.create_user(UserName="runner")
        self.key: dict[str, str] = self._iam.create_access_key(UserName="runner")[
            "AccessKey"
        ]

    def allow(self, policy: str) -> None:
        """Hold the user to `policy` from now on."""
        requests.post(
            f"{self.url}/moto-api/reset-auth", data="inf", timeout=10
        ).raise_for_status()
        self._iam.put_user_policy(
            UserName="runner", PolicyName="store", PolicyDocument=policy
        )
        requests.post(
            f"{self.url}/moto-api/reset-auth", data="0", timeout=10
        ).raise_for_status()

    def client(self) -> Any:
        keys = {
            "aws_access_key_id": self.key["AccessKeyId"],
            "aws_secret_access_key": self.key["SecretAccessKey"],
        }
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", **keys
        )


@pytest.fixture
def account(cloud: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with moto() as url:
        made = Account(url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", made.key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", made.key["SecretAccessKey"])
        yield made


@pytest.fixture
def shop(
    project: Project, account: Account, simulated: Simulated, database_url: str
) -> Project:
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    project.write_config(
        store=f"s3://shop/team?endpoint_override={account.url}", ledger=database_url
    )
    return project


def test_the_policy_is_enough_and_allows_nothing_else(
    shop: Project, account: Account, tmp_path: Path
) -> None:
    """4.13: who holds these keys can neither delete an image nor touch what is beside the store."""
    account.allow(POLICY)
    shop.write_config(output={"keep_versions": 1})
    for prefix in "abc":
        shop.write_rows(shop.rows(3, prefix))
        assert run_config(shop.path)["exit_code"] == 0
    config, runner = load_config(shop.path), account.client()
    assert verify(config).exit_code == 0
    assert repair(config).exit_code == 0
    assert export(config, "imagefolder", tmp_path / "exported").rows == 3
    image = f"team/{load_results(shop.path)['file_name'][0]}"
    versions = runner.list_objects_v2(Bucket="shop", Prefix="team/pets/history/")[
        "Contents"
    ]
    assert len(versions) == 2, "a version and its manifest: older ones were forgotten"
    for denied in (
        lambda: runner.delete_object(Bucket="shop", Key=image),
        lambda: runner.delete_object(Bucket="shop", Key="team/pets/dataset.parquet"),
        lambda: runner.put_object(Bucket="shop", Key="other/x", Body=b"x"),
        lambda: runner.get_object(Bucket="shop", Key="other/x"),
    ):
        with pytest.raises(runner.exceptions.ClientError, match=r"AccessDenied|403"):
            denied()


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("s3:PutObject", "can't write s3://shop/team/"),
        ("s3:GetObject", "can't look at s3://shop"),
    ],
)
def test_a_right_that_is_missing_is_named_before_anything_is_paid(
    shop: Project, account: Account, simulated: Simulated, missing: str, said: str
) -> None:
    policy = json.loads(POLICY)
    policy["Statement"][1]["Action"].remove(missing)
    account.allow(json.dumps(policy))
    with (
        prepare(load_config(shop.path)) as prepared,
        pytest.raises(UserError, match=said) as refused,
    ):
        prepared.start()
    assert missing in refused.value.hint
    assert account.key["SecretAccessKey"] not in str(refused.value)
    assert simulated.bill.calls == 0
