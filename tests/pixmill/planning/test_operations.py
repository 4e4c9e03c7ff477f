"""Plans of operations that differ in what they take: no input image, no prompt, no seed, a task instead of a call."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

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
    request = {"req_key": "jimeng_high_aes_general_v21_L", "mode": "async"}
    with pytest.raises(ConfigError, match="only works synchronously"):
        plan_text_to_image(project, ["a cat"], request=request)


def test_an_operation_on_images_needs_an_image_column(project: Project) -> None:
    request = {"req_key": "high_aes_scheduler_svr_controlnet_v2.0"}
    with pytest.raises(ConfigError, match="takes at least 1 image"):
        plan_text_to_image(project, ["a cat"], request=request)


def test_plan_and_validate_take_a_table_of_prompts(project: Project) -> None:
    plan_text_to_image(project, ["a cat", "a dog"])
    shown = pixmill("plan", project.path)
    assert "2  to make" in shown.stderr
    assert 'prompt       "a cat"' in shown.stderr
    assert pixmill("validate", project.path).returncode == 0


def test_a_prompt_over_the_operations_limit_is_an_invalid_row(
    project: Project,
) -> None:
    plan = plan_text_to_image(project, ["x" * 800, "x" * 801])
    assert dict(plan.reasons) == {"prompt_over_limit": 1}
    (example,) = plan.examples["prompt_over_limit"]
    assert (example.row_number, example.problem.column) == (2, "text")
    assert "801 characters; jimeng_t2i_v31 takes 800" in example.problem.message


def test_replicates_of_an_operation_without_a_seed_are_jobs_of_their_own(
    project: Project,
) -> None:
    request = {"req_key": "jimeng_t2i_v40"}
    plan = plan_text_to_image(
        project, ["a cat"], request=request, seed={"replicates": 3}
    )
    jobs = list(plan.pending_jobs())
    assert (plan.distinct, len({job.key for job in jobs})) == (3, 3)
    assert [(job.seed, job.replicate) for job in jobs] == [
        (None, at) for at in range(3)
    ]
    assert len({job.payload() for job in jobs}) == 1
    assert "seed" not in body_of(jobs[0])
    # A larger number leaves the first ones as they are, paid for.
    more = plan_text_to_image(
        project, ["a cat"], request=request, seed={"replicates": 4}
    )
    assert [job.key for job in more.pending_jobs()][:3] == [job.key for job in jobs]


def test_a_sweep_over_operations_compares_them_on_the_same_rows(
    project: Project,
) -> None:
    keys = ["jimeng_t2i_v31", "high_aes_general_v30l_zt2i", "jimeng_t2i_v40"]
    plan = plan_text_to_image(
        project,
        ["a cat", "a dog"],
        sweep={"groups": [{"grid": {"req_key": keys}}]},
    )
    jobs = list(plan.pending_jobs())
    assert [job.req_key for job in jobs] == keys * 2
    assert [job.is_async for job in jobs[:3]] == [True, False, True]
    assert [job.seed is None for job in jobs[:3]] == [False, False, True]
    assert body_of(jobs[1])["return_url"] is True
    assert jobs[0].seed == jobs[1].seed


def test_rows_that_set_a_size_are_checked_by_the_rule_of_both_sides(
    project: Project,
) -> None:
    project.write_rows(
        [
            {"text": "a", "w": "1024", "h": "1024"},
            {"text": "b", "w": "4096", "h": "4096"},
            {"text": "c", "w": "1024", "h": ""},
        ]
    )
    config = project.write_config(
        request={"req_key": "jimeng_t2i_v31"},
        input={"columns": {"prompt": "text", "width": "w", "height": "h"}},
    )
    plan = make_plan(load_config(config), None)
    assert dict(plan.reasons) == {"bad_field": 2}
    messages = [row.problem.message for row in plan.examples["bad_field"]]
    assert "must be 262,144 to 4,194,304" in messages[0]
    assert "height is empty" in messages[1]


def save_picture(path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, "teal").save(path)


def test_local_images_are_checked_by_the_operations_own_limits(
    project: Project,
) -> None:
    sizes = {"good": (256, 1024), "small": (255, 400), "large": (1025, 300)}
    for name, size in sizes.items():
        save_picture(project.folder / f"{name}.png", size)
    project.write_rows([{"photo": f"{name}.png"} for name in sizes])
    config = project.write_config(
        request={"req_key": "lens_nnsr2_pic_common"},
        input={"columns": {"image_file": "photo"}},
    )
    plan = make_plan(load_config(config), None)
    assert dict(plan.reasons) == {"image_file_dimensions": 2}
    message = plan.examples["image_file_dimensions"][0].problem.message
    assert "at most 5 MB, 256 to 1024 pixels a side" in message
    (job,) = plan.pending_jobs()
    assert body_of(job).keys() == {
        "binary_data_base64",
        "jpg_quality",
        "model_quality",
        "req_key",
        "result_format",
        "return_url",
    }


def test_an_image_and_its_mask_are_sent_in_this_order(project: Project) -> None:
    project.write_rows(
        [
            {
                "text": "删除",
                "photo": "https://images.example.com/cat.jpg",
                "mask": "https://images.example.com/mask.png",
            }
        ]
    )
    config = project.write_config(
        request={"req_key": "jimeng_image2image_dream_inpaint"},
        input={"columns": {"image_url": ["photo", "mask"], "prompt": "text"}},
    )
    (job,) = make_plan(load_config(config), None).pending_jobs()
    assert body_of(job)["image_urls"] == [
        "https://images.example.com/cat.jpg",
        "https://images.example.com/mask.png",
    ]
