"""The service behind both endpoints: checks a request, applies the limits, takes its time, answers and bills."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pixmill.simulator.bill import Entry, ProviderBill
from pixmill.simulator.image_urls import image_url
from pixmill.simulator.limits import AccountLimits
from pixmill.simulator.recipe import Recipe, pack, recipe_of
from pixmill.simulator.rephraser import rephrase
from pixmill.simulator.request_checks import REQ_KEYS, is_accepted
from pixmill.simulator.responses import (
    DENIED,
    INVALID,
    SUCCESS,
    SimulatedResponse,
    named_error,
    new_request_id,
    service_answer,
)
from pixmill.simulator.settings import Settings

if TYPE_CHECKING:
    from pixmill.simulator.faults import Faults, Met, Rule

_canonical = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False
).encode


class _Call(NamedTuple):
    """An authenticated call; `body` is empty where what came is not a JSON object."""

    number: int
    body: Mapping[str, Any]
    key: str
    request_id: str
    started: int

    @property
    def prompt(self) -> str:
        return str(self.body.get("prompt"))

    @property
    def elapsed(self) -> int:
        return time.monotonic_ns() - self.started


class Service:
    """One account at the provider. `render` paints a packed recipe, away from the event loop."""

    def __init__(
        self,
        settings: Settings,
        base_url: str,
        render: Callable[[str], Awaitable[bytes]],
    ) -> None:
        self._settings = settings
        self._base_url = base_url
        self._render = render
        self._limits = AccountLimits(settings.qps, settings.concurrency)
        self._faults = _load_faults(settings)
        self._bill = ProviderBill(settings.bill)
        self._calls = 0
        self._began = 0

    async def answer(self, raw: bytes) -> SimulatedResponse:
        """Answer one authenticated call; its line is in the bill before this returns."""
        call = self._receive(raw)
        met = self._meet(call)
        rule = met.rule if met else None
        if rule and rule.delay:
            await asyncio.sleep(rule.delay)
        if rule and rule.replaces:
            code = rule.code
            answer = _scripted(rule, call)
        else:
            code, answer = await self._serve(
                call, rule.image.pack() if rule and rule.image else ""
            )
        charged = rule.charges(code) if rule else code == SUCCESS
        req_key = str(call.body.get("req_key", ""))
        place = met.place if met else None
        self._bill.write(
            Entry(call.number, call.key, req_key, code, charged, call.request_id, place)
        )
        return rule.on(answer) if rule else answer

    def close(self) -> None:
        """Close the bill."""
        self._bill.close()

    def _receive(self, raw: bytes) -> _Call:
        started = time.monotonic_ns()
        self._calls += 1
        try:
            body = json.loads(raw)
            asked = _canonical(
                {name: value for name, value in body.items() if name != "return_url"}
            ).encode()
        except (ValueError, AttributeError, RecursionError):
            # Not JSON, not an object, or text that is not Unicode.
            body = {}
            asked = raw
        return _Call(
            self._calls,
            body,
            hashlib.sha256(asked).hexdigest(),
            new_request_id(),
            started,
        )

    def _meet(self, call: _Call) -> "Met | None":
        """The rule that this call meets; the limits of this moment hold from now on."""
        if self._faults is None:
            return None
        from pixmill.simulator.fault_rules import (
            Occasion,
        )  # it is there already, with the faults

        self._began = self._began or call.started
        occasion = Occasion(
            call.number, call.prompt, call.key, (call.started - self._began) / 1e9
        )
        settings = self._settings
        limit = self._faults.limit(occasion)
        qps, concurrency = (limit.qps, limit.concurrency) if limit else (None, None)
        self._limits.change(qps or settings.qps, concurrency or settings.concurrency)
        return self._faults.match(occasion)

    async def _serve(
        self, call: _Call, image_fault: str
    ) -> tuple[int, SimulatedResponse]:
        refusal = self._limits.enter()
        if refusal is not None:
            return refusal, service_answer(refusal, call.request_id, call.elapsed)
        try:
            return await self._work(call, image_fault)
        finally:
            self._limits.leave()

    async def _work(
        self, call: _Call, image_fault: str
    ) -> tuple[int, SimulatedResponse]:
        code = _verdict(call.body)
        data = None
        if code == SUCCESS:
            if self._settings.latency:
                await asyncio.sleep(self._settings.latency * _jitter(call.key))
            data = await self._result(call, image_fault)
        return code, service_answer(code, call.request_id, call.elapsed, data=data)

    async def _result(self, call: _Call, image_fault: str) -> dict[str, Any]:
        rephrased = (
            rephrase(call.prompt) if call.body.get("use_rephraser", True) else ""
        )
        recipe = recipe_of(call.body, rephrased or call.prompt)
        recipes = [recipe, recipe._replace(contour=True)] if recipe.canny else [recipe]
        by_url = bool(call.body.get("return_url"))
        return {
            "algorithm_base_resp": {"status_code": 0, "status_message": "Success"},
            "binary_data_base64": []
            if by_url
            else [await self._inline(item) for item in recipes],
            "image_urls": [self._link(item, image_fault) for item in recipes]
            if by_url
            else [],
            "predict_tags_result": "",
            "rephraser_result": rephrased,
            "request_id": hashlib.sha256(call.request_id.encode()).hexdigest(),
        }

    def _link(self, recipe: Recipe, fault: str) -> str:
        return image_url(self._base_url, recipe, self._settings.url_life, fault)

    async def _inline(self, recipe: Recipe) -> str:
        return base64.b64encode(await self._render(pack(recipe))).decode()


def _verdict(body: Mapping[str, Any]) -> int:
    if body and body.get("req_key") not in REQ_KEYS:
        return DENIED
    return SUCCESS if is_accepted(body) else INVALID


def _scripted(rule: "Rule", call: _Call) -> SimulatedResponse:
    """What a rule says in place of the service, before it is done to the answer what the rule does to any."""
    if rule.code is None:
        return SimulatedResponse(200, b"")
    if isinstance(rule.code, str):
        return named_error(rule.code, rule.message)
    return service_answer(
        rule.code, call.request_id, call.elapsed, message=rule.message
    )


def _load_faults(settings: Settings) -> "Faults | None":
    if settings.faults is None:
        return None
    from pixmill.simulator.faults import (
        load_faults,
    )  # pydantic would double the start-up time

    return load_faults(settings.faults)


def _jitter(key: str) -> float:
    return 0.9 + 0.2 * int(key[:8], 16) / 0xFFFFFFFF
