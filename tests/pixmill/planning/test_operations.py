"""Plans of operations that differ in what they take: no input image, no prompt, no seed, a task instead of a call."""

import json
from typing import Any

import pytest

from pixmill.config.loading import load_config
from pixmill.errors import ConfigError
from pixmill.planning.jobs import Job
from pixmill.planning.plan import Plan
from pixmill.planning.planner import make_plan
from tests.conftest import Project
from tests.pixmill.cli.test_commands import pixmill


def plan_text_to_image(project: Project, prompts: list[str], **changes: Any) -> Plan:
    project.write_rows([{"text": prompt} for prompt in prompts])
    changes.setdefault("request", {"req_key": "jimeng_t2i_v31"})
    changes.setdefault("input", {"columns": {"prompt": "text"}})
    return make_plan(load_config(project.write_config(**changes)), None)


def body_of(job: Job) -> dict[str, Any]:
    return json.loads(job.payload())  # type: ignore[no-any-return]


def test_a_table_of_prompts_is_planned_without_an_image_column(
    project: Project,
) -> None:
    plan = plan_text_to_image(project, ["a cat", "a dog", "a cat", ""])
    assert (plan.rows, plan.invalid, plan.distinct) == (4, 1, 2)
    assert [body_of(job)["prompt"] for job in plan.pending_jobs()] == ["a cat", "a dog"]
    for job in plan.pending_jobs():
        assert not {"image_urls", "binary_data_base64"} & body_of(job).keys()


def test_what_a_submit_would_ignore_goes_with_the_polls(project: Project) -> None:
    request = {
        "req_key": "jimeng_t2i_v31",
        "params": {"logo_info": {"add_logo": True}, "width": 1024, "height": 1024},
    }
    (job,) = plan_text_to_image(project, ["a cat"], request=request).pending_jobs()
    assert job.is_async
    assert job.result_options is not None
    options = json.loads(job.result_options)
    assert options["return_url"] is True
    assert options["logo_info"]["add_logo"] is True
    assert body_of(job) == {
        "req_key": "jimeng_t2i_v31",
        "prompt": "a cat",
        "width": 1024,
        "height": 1024,
        "use_pre_llm": True,
        "seed": job.seed,
    }


def test_inline_images_are_asked_for_with_the_polls(project: Project) -> None:
    plan = plan_text_to_image(project, ["a cat"], output={"images": "inline"})
    (job,) = plan.pending_jobs()
    assert json.loads(job.result_options or "")["return_url"] is False


def test_the_way_to_call_an_operation_is_not_in_the_job_key(project: Project) -> None:
    keys = set()
    for mode in ("sync", "async"):
        request = {"req_key": "an_unknown_key", "mode": mode}
        (job,) = plan_text_to_image(project, ["a cat"], request=request).pending_jobs()
        assert job.is_async == (mode == "async")
        keys.add(job.key)
    assert len(keys) == 1


def test_an_operation_that_is_only_asynchronous_refuses_to_be_called_otherwise(
    project: Project,
) -> None:
    request = {"req_key": "jimeng_t2i_v31", "mode": "sync"}
    with pytest.raises(ConfigError, match="only works asynchronously"):
        plan_text_to_image(project, ["a cat"], request=request)


def test_an_operation_that_is_only_synchronous_refuses_to_be_submitted(
    project: Project,
) -> None:
    project.write_rows(project.rows(1))
    with pytest.raises(ConfigError, match="only works synchronously"):
        load_config(project.write_config(request={"mode": "async"}))


def test_an_operation_on_images_needs_an_image_column(project: Project) -> None:
    request = {"req_key": "high_aes_scheduler_svr_controlnet_v2.0"}
    with pytest.raises(ConfigError, match="works on images"):
        plan_text_to_image(project, ["a cat"], request=request)


def test_plan_and_validate_take_a_table_of_prompts(project: Project) -> None:
    plan_text_to_image(project, ["a cat", "a dog"])
    shown = pixmill("plan", project.path)
    assert "2  to pay for" in shown.stderr
    assert 'prompt       "a cat"' in shown.stderr
    assert pixmill("validate", project.path).returncode == 0
