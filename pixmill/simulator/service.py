"""The service behind both endpoints.

A call goes this way, and each step may be the last:

    fault rule that replaces the answer ─▶ limits ─▶ checks ─▶ latency ─▶ result
                                   every answer ─▶ bill ─▶ what a rule does to it ─▶ out

A submit is answered after the checks: its task takes the latency, holds its place in the limits
and gets its line on the bill when it ends. A poll has neither limits nor a line.
"""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pixmill.simulator.bill import Entry, ProviderBill
from pixmill.simulator.calls import Action, Call, read_call
from pixmill.simulator.image_urls import image_url
from pixmill.simulator.inputs import KeptImages
from pixmill.simulator.limits import AccountLimits
from pixmill.simulator.recipe import Recipe, mark_of, pack, recipes_of, unpack
from pixmill.simulator.rephraser import rephrase
from pixmill.simulator.request_checks import Accepted, Refusal, check_request
from pixmill.simulator.responses import (
    DENIED,
    INVALID_FIELD,
    SUCCESS,
    SimulatedResponse,
    service_answer,
)
from pixmill.simulator.settings import Settings
from pixmill.simulator.task_journal import TaskJournal
from pixmill.simulator.tasks import Fate, SimulatedTask, Tasks

if TYPE_CHECKING:
    from pixmill.simulator.faults import Faults, Met


# What a poll says of the fates that are no words of the provider.
_STATUSES = {"empty": "done", "endless": "generating"}


class _CallResult(NamedTuple):
    """What became of a call."""

    code: int | str | None
    answer: SimulatedResponse

    images: int = 0
    """How many pictures were made."""

    task: SimulatedTask | None = None
    """What was started; its line on the bill comes later."""


class Service:
    """One account at the provider, reached at `base_url`.

    `render` paints a packed recipe, away from the event loop, with the input images that are
    kept in `inputs`. `clock` tells seconds, by which
    tasks work and are forgotten.
    """

    def __init__(
        self,
        settings: Settings,
        base_url: str,
        render: Callable[[str], Awaitable[bytes]],
        inputs: KeptImages,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._base_url = base_url
        self._render = render
        self._inputs = inputs
        self._limits = AccountLimits(settings.qps, settings.concurrency)
        self._tasks = Tasks(clock, settings.retention)
        self._faults: Faults | None = None
        if settings.faults is not None:
            # pydantic would double the start-up time.
            from pixmill.simulator.faults import load_faults

            self._faults = load_faults(settings.faults)
        self._bill = ProviderBill(settings.bill)
        journal = settings.bill and settings.bill.with_suffix(".tasks.jsonl")
        self._journal = TaskJournal(journal)
        self._calls = 0
        self._polls = 0
        # When the first call came; 0 before.
        self._began = 0

    async def answer(
        self,
        action: Action,
        raw: bytes,
    ) -> SimulatedResponse:
        """Answer one authenticated call.

        Its line is in the bill before this returns, and that of every task that has ended.
        """
        if action != "process":
            # What an earlier simulator with the same bill has started.
            tasks = self._journal.take_over()
            if tasks:
                for task in self._tasks.take_over(tasks, set(self._bill.task_ids())):
                    self._limits.hold(task.entry.req_key)
                if all(self._tasks.find(task.task_id) is None for task in tasks):
                    self._journal.clear()
        self._end_tasks()
        call = self._receive(action, raw)
        met = self._meet(call)
        if met is None:
            outcome = await self._serve(call, None)
            self._bill_call(call, outcome, None)
            return outcome.answer
        rule = met.rule
        if rule.delay:
            await asyncio.sleep(rule.delay)
        if rule.replaces:
            outcome = _CallResult(rule.code, rule.answer(call))
        else:
            outcome = await self._serve(call, met)
        # Before the connection may break: a provider charges for what it made, not for what
        # arrives.
        self._bill_call(call, outcome, met)
        return rule.apply_to(outcome.answer)

    def close(self) -> None:
        """Close the bill; the tasks that still work are left to the next simulator."""
        self._end_tasks()
        self._bill.close()
        self._journal.close()

    def _receive(
        self,
        action: Action,
        raw: bytes,
    ) -> Call:
        if action != "poll":
            self._calls += 1
            return read_call(action, raw, self._calls)
        self._polls += 1
        call = read_call(action, raw, self._polls)
        task = self._tasks.find(call.body.get("task_id"))
        if task is None:
            return call
        # So that rules know a task by what was asked for, not by the id that was drawn.
        return call._replace(key=f"poll {task.entry.key}", prompt=task.prompt)

    def _meet(self, call: Call) -> "Met | None":
        """Return the rule that this call meets; the limits of this moment hold from now on."""
        if self._faults is None:
            return None
        # It is there already, with the faults.
        from pixmill.simulator.fault_rules import Occasion

        self._began = self._began or call.started
        occasion = Occasion(
            number=call.number,
            prompt=call.prompt,
            key=call.key,
            action=call.action,
            second=(call.started - self._began) / 1e9,
        )
        # Polls have no limits, and their numbers would move those of the calls.
        if call.action != "poll":
            qps = self._settings.qps
            concurrency = self._settings.concurrency
            limit = self._faults.limit(occasion)
            if limit:
                qps = limit.qps or qps
                concurrency = limit.concurrency or concurrency
            self._limits.change(qps, concurrency)
        return self._faults.match(occasion)

    async def _serve(
        self,
        call: Call,
        met: "Met | None",
    ) -> _CallResult:
        """Return what the service itself makes of a call."""
        if call.action == "poll":
            return await self._poll(call, met)
        code = self._limits.enter(call.req_key)
        if code is not None:
            return _say(call, code)
        task = None
        try:
            checked = check_request(call.action, call.body)
            if isinstance(checked, Refusal):
                return _say(call, checked.code, message=checked.message)
            if call.action == "submit":
                task = self._start_task(call, checked, met)
                return _CallResult(
                    SUCCESS,
                    _say(call, SUCCESS, data={"task_id": task.task_id}).answer,
                    task=task,
                )
            if self._settings.latency:
                await asyncio.sleep(self._work_seconds(call))
            rephrased = _rephrase(checked)
            inputs = self._keep_inputs(checked)
            recipes = _spoil(recipes_of(checked, rephrased, call.key, inputs), met)
            urls, inline = await self._deliver(recipes, call.body, _image_fault(met))
            data: dict[str, Any] = {
                "algorithm_base_resp": {"status_code": 0, "status_message": "Success"},
                "binary_data_base64": inline,
                "image_urls": urls,
                "predict_tags_result": "",
                "rephraser_result": rephrased if rephrased != call.prompt else "",
                "request_id": hashlib.sha256(call.request_id.encode()).hexdigest(),
            }
            if checked.operation.tells_seed:
                data["infer_ctx"] = {"params": {"seed": recipes[0].seed}}
            return _say(call, SUCCESS, data=data)._replace(images=len(recipes))
        finally:
            # A task keeps its place until it ends.
            if task is None:
                self._limits.leave(call.req_key)

    def _work_seconds(self, call: Call) -> float:
        # Give or take a tenth, and the same for the same request.
        jitter = 0.9 + 0.2 * int(call.key[:8], 16) / 0xFFFFFFFF
        return self._settings.latency * jitter

    def _keep_inputs(self, accepted: Accepted) -> list[str]:
        """Keep the images that came as bytes, and return their names."""
        return [
            self._inputs.keep(image)
            for image in accepted.images
            if isinstance(image, bytes)
        ]

    async def _deliver(
        self,
        recipes: list[Recipe],
        options: Mapping[str, Any],
        image_fault: str,
    ) -> tuple[list[str], list[str]]:
        """Return the URLs of pictures, or the pictures themselves, whichever `return_url` wants."""
        if options.get("return_url"):
            life = self._settings.url_life
            urls = [
                image_url(self._base_url, recipe, life, image_fault)
                for recipe in recipes
            ]
            return urls, []
        pictures = [await self._render(pack(recipe)) for recipe in recipes]
        return [], [base64.b64encode(picture).decode() for picture in pictures]

    def _start_task(
        self,
        call: Call,
        accepted: Accepted,
        met: "Met | None",
    ) -> SimulatedTask:
        """Start the task of a submit, which works from now on."""
        inputs = self._keep_inputs(accepted)
        painted = recipes_of(accepted, _rephrase(accepted), call.key, inputs)
        recipes = _spoil(painted, met)
        fate: Fate = "done"
        if met and met.rule.task is not None:
            fate = met.rule.task
        code = fate if isinstance(fate, int) else SUCCESS
        has_pictures = fate in ("done", "not_found")
        seconds = self._work_seconds(call)
        task = self._tasks.start(
            entry=_entry(call, code, len(recipes) if has_pictures else 0, met),
            prompt=call.prompt,
            seconds=seconds,
            recipes=map(pack, recipes),
            image_fault=_image_fault(met),
            fate=fate,
        )
        self._journal.write(task)
        # Every call ends tasks as well; this is for a bill that somebody reads meanwhile.
        asyncio.get_running_loop().call_later(seconds, self._end_tasks)
        return task

    def _end_tasks(self) -> None:
        """Charge for the tasks that have ended, and let others take their places."""
        for task in self._tasks.take_ended():
            self._limits.leave(task.entry.req_key)
            self._bill.write(task.entry)

    async def _poll(
        self,
        call: Call,
        met: "Met | None",
    ) -> _CallResult:
        """Return how far a task is, with its pictures if it is done."""
        try:
            options = json.loads(call.body.get("req_json") or "{}")
        except (TypeError, ValueError):
            options = None
        if not isinstance(options, dict):
            return _say(
                call,
                INVALID_FIELD,
                message="req_json must be a string with a JSON object",
            )
        task = self._tasks.find(call.body.get("task_id"))
        if task is None:
            return _say(call, SUCCESS, data=_task_data("not_found"))
        if call.req_key != task.entry.req_key:
            return _say(call, DENIED)
        told = self._tasks.tell(task)
        if met and met.rule.task is not None:
            told = met.rule.task
        if isinstance(told, int):
            return _say(call, told)
        if told != "done":
            status = _STATUSES.get(told, told)
            return _say(call, SUCCESS, data=_task_data(status))
        mark = mark_of(options.get("logo_info") or {})
        recipes = [unpack(packed)._replace(mark=mark) for packed in task.recipes]
        urls, inline = await self._deliver(recipes, options, task.image_fault)
        return _say(call, SUCCESS, data=_task_data("done", urls, inline))

    def _bill_call(
        self,
        call: Call,
        outcome: _CallResult,
        met: "Met | None",
    ) -> None:
        if call.action != "poll" and outcome.task is None:
            self._bill.write(_entry(call, outcome.code, outcome.images, met))


def _entry(
    call: Call,
    code: int | str | None,
    images: int,
    met: "Met | None",
) -> Entry:
    """Return the line of the bill for a call that ended with `code`."""
    return Entry(
        call=call.number,
        key=call.key,
        req_key=call.req_key,
        code=code,
        charged=met.rule.charges(code) if met else code == SUCCESS,
        request_id=call.request_id,
        fault=met.place if met else None,
        images=images,
    )


def _say(
    call: Call,
    code: int,
    *,
    data: Mapping[str, Any] | None = None,
    message: str | None = None,
) -> _CallResult:
    """Return the outcome of a call that is answered in the envelope of the service."""
    answer = service_answer(
        code,
        call.request_id,
        call.elapsed,
        data=data,
        message=message,
    )
    return _CallResult(code, answer)


def _task_data(
    status: str,
    urls: list[str] | None = None,
    inline: list[str] | None = None,
) -> dict[str, Any]:
    """Return the `data` of a poll: of the two lists at most one is filled, the other null."""
    return {
        "binary_data_base64": inline or None,
        "image_urls": urls or None,
        "status": status,
    }


def _rephrase(accepted: Accepted) -> str:
    """Return the prompt as the operation understands it, empty where it takes none."""
    if accepted.operation.prompt_limit is None:
        return ""
    prompt = str(accepted.body["prompt"])
    # Only one operation has this field, and there it is on by default.
    has_rephraser = "use_rephraser" in accepted.operation.fields
    if has_rephraser and accepted.body.get("use_rephraser", True):
        return rephrase(prompt)
    return prompt


def _spoil(recipes: list[Recipe], met: "Met | None") -> list[Recipe]:
    """Return the recipes of pictures with the flaw that a rule gives them."""
    if met is None or met.rule.picture is None:
        return recipes
    return [recipe._replace(flaw=met.rule.picture) for recipe in recipes]


def _image_fault(met: "Met | None") -> str:
    return met.rule.image.pack() if met and met.rule.image else ""
