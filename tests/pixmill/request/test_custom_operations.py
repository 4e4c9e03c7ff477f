"""Operations of users: in a file that the config names, or of an installed package."""

import json
import os
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pixmill.config.loading import load_config
from pixmill.errors import ConfigError
from pixmill.execution.worker_pool import resolve_paths
from pixmill.planning.planner import make_plan
from pixmill.request.operations import custom
from pixmill.request.registry import operation_of
from tests.conftest import ROOT, Project
from tests.pixmill.run_checks import (
    Provider,
    configure_run,
    error_response,
    run_and_check,
)

OWN = """
from pixmill.request.operations import InputImages, Operation, Parameters

class Fields(Parameters):
    strength: float = {strength}
    return_url: bool = True

OWN = Operation(
    req_key="{req_key}",
    title="anything",
    parameters=Fields,
    images=InputImages(least=1, most=1),
    codes={{"58123": ("refused", "no")}},
)
"""


def own_operation(
    folder: Path, req_key: str = "my_key", strength: float = 0.5, name: str = "own.py"
) -> str:
    path = folder / name
    path.write_text(OWN.format(req_key=req_key, strength=strength))
    return str(path)


def own_request(project: Project, **changes: Any) -> dict[str, Any]:
    file = own_operation(project.folder, **changes)
    return {"req_key": "my_key", "operation_file": file}


def params_of(config: str) -> dict[str, Any]:
    (job,) = make_plan(load_config(config), None).pending_jobs()
    return json.loads(job.payload())  # type: ignore[no-any-return]


def test_the_example_of_contributing_is_checked_and_sent_as_it_says(
    project: Project,
) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text[text.index("## An operation of your own") :]
    code, config, toml = re.findall(r"```\w+\n(.*?)```", section, re.DOTALL)[:3]
    (project.folder / "portrait_photo.py").write_text(code)
    project.write_rows(project.rows(1))
    request = yaml.safe_load(config)["request"]
    request["operation_file"] = str(project.folder / request["operation_file"])
    (job,) = make_plan(
        load_config(project.write_config(request=request)), None
    ).pending_jobs()
    body = json.loads(job.payload())
    assert (job.is_async, body["image_input"]) == (
        True,
        "https://images.example.com/0.jpg",
    )
    assert (body["gpen"], body["width"], "image_urls" in body) == (0.6, 1328, False)
    with pytest.raises(ConfigError, match=r"params\.gpen: must be at most 1"):
        load_config(project.path, ["request.params.gpen=2"])
    assert custom.GROUP in toml


def test_a_file_of_the_config_names_its_own_operation(project: Project) -> None:
    project.write_rows(project.rows(1))
    config = project.write_config(request=own_request(project))
    assert params_of(config)["strength"] == 0.5
    with pytest.raises(ConfigError, match=r"params\.strengh: unknown key.*strength"):
        load_config(config, ["request.params.strengh=1"])


def test_a_run_obeys_the_codes_of_a_users_operation(project: Project) -> None:
    request = own_request(project)
    with Provider({2: error_response(58123, 418)}) as provider:
        config = configure_run(project, provider.url, 3, request=request)
        run = run_and_check(config, provider.charges)
    assert sorted(run.column("status")) == ["refused", "succeeded", "succeeded"]


def test_workers_find_the_file_from_whatever_folder_they_run_in(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_operation(project.folder)
    project.write_rows(project.rows(1))
    monkeypatch.chdir(project.folder)
    request = {"req_key": "my_key", "operation_file": "own.py"}
    config = resolve_paths(load_config(project.write_config(request=request)))
    sent = pickle.loads(pickle.dumps(config))
    monkeypatch.chdir("/")
    assert operation_of("my_key", sent.request.operation_file).title == "anything"


def test_a_file_that_is_edited_counts_as_it_is_now(project: Project) -> None:
    project.write_rows(project.rows(1))
    config = project.write_config(request=own_request(project))
    assert params_of(config)["strength"] == 0.5
    file = own_operation(project.folder, strength=0.75)
    os.utime(file, (1, 1))
    assert params_of(config)["strength"] == 0.75


def test_the_file_goes_before_an_operation_of_that_name(project: Project) -> None:
    file = own_operation(project.folder, req_key="jimeng_t2i_v31")
    assert operation_of("jimeng_t2i_v31", file).title == "anything"
    assert operation_of("jimeng_t2i_v31").title == "text to image 3.1"
    assert operation_of("jimeng_t2i_v40", file).req_key == "jimeng_t2i_v40"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("absent.py", None, "can't be read: No such file"),
        ("own.txt", "", "is not a Python file"),
        ("own.py", "x = 1", "defines no Operation"),
        ("own.py", "import nothing_like_it", "can't be run: ModuleNotFoundError"),
        ("own.py", "def (", "can't be run: SyntaxError"),
    ],
)
def test_a_file_that_can_not_be_used_is_a_mistake_of_the_config(
    project: Project, name: str, text: str | None, message: str
) -> None:
    path = project.folder / name
    if text is not None:
        path.write_text(text)
    config = project.write_config(request={"operation_file": str(path)})
    with pytest.raises(ConfigError) as raised:
        load_config(config)
    assert f"request.operation_file: {path} {message}" in str(raised.value)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path in which packages can be installed."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def forget() -> None:
        custom.installed_operations.cache_clear()
        custom.installed_operation.cache_clear()

    forget()
    yield folder
    forget()


def install(folder: Path, entry: str) -> None:
    info = folder / "own-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: own\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{custom.GROUP}]\n{entry}\n")


def test_an_installed_package_offers_an_operation(
    packages: Path, project: Project
) -> None:
    own_operation(packages, name="own_package.py")
    install(packages, "my_key = own_package:OWN")
    project.write_rows(project.rows(1))
    config = project.write_config(request={"req_key": "my_key"})
    assert params_of(config)["strength"] == 0.5


def test_an_installed_package_changes_no_operation_of_pixmill(packages: Path) -> None:
    own_operation(packages, req_key="jimeng_t2i_v31", name="other_package.py")
    install(packages, "jimeng_t2i_v31 = other_package:OWN")
    assert operation_of("jimeng_t2i_v31").title == "text to image 3.1"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("broken = no_such_package:OWN", "can't be imported"),
        ("broken = json:dumps", "is not an Operation of this req_key"),
    ],
)
def test_an_installed_operation_that_can_not_be_used_is_named(
    packages: Path, entry: str, message: str
) -> None:
    install(packages, entry)
    with pytest.raises(ConfigError, match=message):
        operation_of("broken")


def test_a_price_per_image_counts_the_images_that_an_own_operation_may_give(
    project: Project,
) -> None:
    file = project.folder / "own.py"
    several = OWN.format(req_key="my_key", strength=0.5).replace(
        'title="anything",', 'title="anything",\n    outputs=lambda params, images: 4,'
    )
    file.write_text(several)
    project.write_rows(project.rows(1))
    config = project.write_config(
        request={"req_key": "my_key", "operation_file": str(file)},
        budget={"prices": [{"price": 0.2, "per": "image"}]},
    )
    (job,) = make_plan(load_config(config), None).pending_jobs()
    assert job.price is not None
    assert str(job.price.most) == "0.8"
