"""The files that say when and where flows run: each fits the flow that it names, and opens nothing by mistake."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from tests.conftest import ROOT

pytestmark = pytest.mark.stack

FOLDER = ROOT / "deployments"
NAMES = ("nightly", "weekly", "sweep")
KEY_PLACES = ("password", "auth", "key", "secret", "token")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def flow_of(entry: dict[str, Any]) -> Any:
    """The flow of a deployment, loaded as a worker does."""
    from prefect.flows import load_flow_from_entrypoint

    return load_flow_from_entrypoint(entry["entrypoint"])


def deployment(name: str, store: Path = Path("/srv/store")) -> dict[str, Any]:
    """The deployment called `name`, as it is with the environment that it is deployed from."""
    text = (
        (FOLDER / "prefect.yaml")
        .read_text(encoding="utf-8")
        .replace("{{ $PIXMILL_STORE }}", str(store))
    )
    (found,) = (
        entry for entry in yaml.safe_load(text)["deployments"] if entry["name"] == name
    )
    return found  # type: ignore[no-any-return]


def compose() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_all_deployments_are_looked_at() -> None:
    raw = yaml.safe_load((FOLDER / "prefect.yaml").read_text(encoding="utf-8"))
    assert tuple(entry["name"] for entry in raw["deployments"]) == NAMES
    assert [list(step) for step in raw["pull"]] == [
        ["prefect.deployments.steps.set_working_directory"]
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_deployment_fits_its_flow_and_its_config(name: str, tmp_path: Path) -> None:
    """Its parameters pass the flow's own check, and the config that they name loads with its overrides."""
    from pixmill.config.loading import load_deployment_config

    entry = deployment(name, tmp_path)
    flow, parameters = flow_of(entry), entry["parameters"]
    assert flow.validate_parameters(parameters)["config"] == parameters["config"]
    with pytest.raises(TypeError):
        inspect.signature(flow.fn).bind(**parameters, unheard_of=1)
    settings = load_deployment_config(
        parameters["config"], parameters["overrides"], deployed=True
    )
    assert settings.store == str(tmp_path)
    assert settings.budget.max_calls, "a deployment that pays has a cap"


@pytest.mark.parametrize("name", NAMES)
def test_runs_of_a_deployment_do_not_pile_up(name: str) -> None:
    """C12: a run that is due while the one before goes on is cancelled, not queued behind it."""
    entry = deployment(name)
    assert entry["concurrency_limit"] == {
        "limit": 1,
        "collision_strategy": "CANCEL_NEW",
    }
    assert entry["work_pool"] == {"name": "pixmill"}
    assert "pixmill" in entry["tags"]


@pytest.mark.parametrize("name", ["nightly", "weekly"])
def test_a_schedule_says_in_which_timezone_it_is(name: str) -> None:
    from prefect.client.schemas.schedules import CronSchedule

    (schedule,) = deployment(name)["schedules"]
    assert (
        CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"]).timezone
        == schedule["timezone"]
    )
    assert ZoneInfo(schedule["timezone"])


def test_the_form_of_a_sweep_offers_choices_and_ranges() -> None:
    """What Prefect's page makes fields of: an enumeration, numbers with bounds, a default for all but two."""
    from prefect.utilities.callables import parameter_schema

    form = parameter_schema(flow_of(deployment("sweep")))
    fields = form.properties
    assert fields["controls"]["items"]["enum"] == ["depth", "canny", "pose"]
    assert fields["strengths"]["items"] == {
        "exclusiveMinimum": 0,
        "maximum": 1,
        "type": "number",
    }
    assert (fields["replicates"]["minimum"], fields["replicates"]["maximum"]) == (1, 16)
    assert form.required == ["config", "name"]


def test_what_the_form_offers_is_what_the_operation_takes() -> None:
    from prefect.utilities.callables import parameter_schema

    from pixmill.config.model import Config
    from pixmill.request.operations.controlnet import (
        Control,
        ControlnetImageToImage,
    )

    fields = parameter_schema(flow_of(deployment("sweep"))).properties
    taken = ControlnetImageToImage.model_json_schema()["properties"]
    control = Control.model_json_schema()["properties"]
    assert set(fields["controls"]["items"]["enum"]) == set(control["type"]["enum"])
    assert (
        fields["name"]["pattern"]
        == Config.model_json_schema()["properties"]["name"]["pattern"]
    )
    for field, wanted in (
        ("strengths", control["strength"]),
        ("scales", taken["scale"]),
        ("steps", taken["ddim_steps"]),
    ):
        bounds = {name: bound for name, bound in wanted.items() if "imum" in name}
        assert (
            {
                name: bound
                for name, bound in fields[field]["items"].items()
                if "imum" in name
            }
            == bounds
            != {}
        )


# The image and the services


def test_the_image_is_locked_and_not_of_root() -> None:
    lines = (FOLDER / "Dockerfile").read_text(encoding="utf-8").splitlines()
    installs = [line for line in lines if "pip install" in line]
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    assert all("--no-deps" in line for line in installs)
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users
    assert users[-1] not in ("root", "0")
    copied = [
        part
        for line in lines
        if line.startswith("COPY") and "--from" not in line
        for part in line.split()[1:-1]
    ]
    assert [
        name
        for name in copied
        if not name.startswith("--") and not (ROOT / name).exists()
    ] == []
    assert lines[-1].startswith("CMD")


def test_the_image_gets_only_what_it_is_made_of() -> None:
    """No store, history or key of the machine that builds it."""
    ignored = (
        (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    )
    entries = [line for line in ignored if line and not line.startswith("#")]
    assert entries[0] == "*"
    assert not {"!out", "!.git", "!tests"} & set(entries)


def test_only_loopback_reaches_the_server_and_nothing_the_database() -> None:
    """4.12: the only port is that of the server, on this machine."""
    services = compose()["services"]
    ports = {
        name: service["ports"]
        for name, service in services.items()
        if "ports" in service
    }
    assert ports == {"server": ["127.0.0.1:4200:4200"]}
    assert services["database"]["networks"] == ["inside"]
    assert compose()["networks"]["inside"] == {"internal": True}


def test_the_server_authenticates_and_checks_where_writes_come_from() -> None:
    """4.12: authentication, CSRF protection and one origin, all of which are off by default."""
    server, worker = compose()["services"]["server"], compose()["services"]["worker"]
    assert server["environment"]["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] == "true"
    assert (
        server["environment"]["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"]
        == "http://localhost:4200"
    )
    given = {secret["source"]: secret["target"] for secret in server["secrets"]}
    assert {secret["target"] for secret in server["secrets"]} >= {
        "PREFECT_SERVER_API_AUTH_STRING"
    }
    assert given["database_password"] == "PREFECT_SERVER_DATABASE_PASSWORD"
    assert {"source": "prefect_auth", "target": "PREFECT_API_AUTH_STRING"} in worker[
        "secrets"
    ]


def test_the_providers_key_is_the_workers_alone() -> None:
    holders = [
        name
        for name, service in compose()["services"].items()
        if "pixmill_api_key" in str(service["secrets"])
    ]
    assert holders == ["worker"]


def test_no_file_holds_a_secret() -> None:
    """I9: what is secret is a file outside of the project."""
    said = {
        **compose()["services"]["server"]["environment"],
        **compose()["services"]["worker"]["environment"],
    }
    assert [
        name for name in said if any(place in name.lower() for place in KEY_PLACES)
    ] == []
    database = compose()["services"]["database"]["environment"]
    assert database["POSTGRES_PASSWORD_FILE"] == "/run/secrets/database_password"
    assert "POSTGRES_PASSWORD" not in database
    assert all(
        secret["file"].startswith("${PIXMILL_SECRETS:?")
        for secret in compose()["secrets"].values()
    )


def test_our_containers_can_not_change_themselves() -> None:
    for name, service in compose()["services"].items():
        if service["image"] == "pixmill":
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name


def test_every_setting_of_prefect_exists(tmp_path: Path) -> None:
    """A misspelt name would leave the server open and say nothing."""
    from prefect.settings.legacy import _get_valid_setting_names
    from prefect.settings.models.root import Settings

    from deployments.stack import client_environment, server_environment

    services = compose()["services"].values()
    named = {name for service in services for name in service["environment"]}
    named |= {
        secret["target"]
        for service in services
        for secret in service.get("secrets", [])
        if isinstance(secret, dict)
    }
    local = server_environment(
        client_environment(tmp_path, 4200, tmp_path), 4200, "sqlite+aiosqlite://"
    )
    settings = {name for name in named | local.keys() if name.startswith("PREFECT_")}
    assert len(settings) > 15
    assert settings - _get_valid_setting_names(Settings) == set()


def test_secrets_become_the_environment_of_a_command(tmp_path: Path) -> None:
    """Line ends that an editor left are no part of them, blanks are."""
    (tmp_path / "PIXMILL_API_KEY").write_text("a key 'with' $signs\n")
    told = subprocess.run(
        [
            FOLDER / "with-secrets.sh",
            sys.executable,
            "-c",
            "import json, os; print(json.dumps(dict(os.environ)))",
        ],
        env={**os.environ, "SECRETS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(told.stdout)["PIXMILL_API_KEY"] == "a key 'with' $signs"


@pytest.mark.parametrize(
    "missing", ["PREFECT_API_URL", "PIXMILL_ROOT", "PIXMILL_STORE"]
)
def test_nothing_is_deployed_without_knowing_where(missing: str) -> None:
    """A store that nobody named would be an empty override, found out at three in the night."""
    named = {
        "PREFECT_API_URL": "http://127.0.0.1:1/api",
        "PIXMILL_ROOT": "/srv",
        "PIXMILL_STORE": "/srv/store",
    }
    environment = {
        "PATH": os.environ["PATH"],
        **{name: value for name, value in named.items() if name != missing},
    }
    told = subprocess.run(
        [FOLDER / "deploy.sh"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode != 0
    assert missing in told.stderr
