"""The service behind both endpoints.

A call goes this way, and each step may be the last:

    fault rule that replaces the answer ─▶ limits ─▶ checks ─▶ latency ─▶ result
                                   every answer ─▶ bill ─▶ what a rule does to it ─▶ out
"""

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
from pixmill.simulator.recipe import pack, recipe_of
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

# Equal requests have equal text, in whatever order and spelling a client writes them.
_canonical = json.JSONEncoder(
    sort_keys=True,
    separators=(",", ":"),
    ensure_ascii=False,
).encode


class _Call(NamedTuple):
    """An authenticated call."""

    number: int
    """From 1."""

    body: Mapping[str, Any]
    """Empty where what came is not a JSON object."""

    key: str
    """The hash of what is asked for."""

    request_id: str

    started: int
    """On the monotonic clock, in nanoseconds."""

    @property
    def prompt(self) -> str:
        return str(self.body.get("prompt"))

    @property
    def elapsed(self) -> int:
        """Nanoseconds since the call came."""
        return time.monotonic_ns() - self.started


class Service:
    """One account at the provider, reached at `base_url`.

    `render` paints a packed recipe, away from the event loop.
    """

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
        self._faults: Faults | None = None
        if settings.faults is not None:
            # pydantic would double the start-up time.
            from pixmill.simulator.faults import load_faults

            self._faults = load_faults(settings.faults)
        self._bill = ProviderBill(settings.bill)
        self._calls = 0
        # When the first call came; 0 before.
        self._began = 0

    async def answer(self, raw: bytes) -> SimulatedResponse:
        """Answer one authenticated call; its line is in the bill before this returns."""
        call = self._receive(raw)
        met = self._meet(call)
        if met is None:
            code, answer = await self._serve(call, image_fault="")
            self._write_bill(call, code, charged=code == SUCCESS, fault=None)
            return answer
        rule = met.rule
        if rule.delay:
            await asyncio.sleep(rule.delay)
        if rule.replaces:
            given_code = rule.code
            answer = _answer_by_rule(rule, call)
        else:
            image_fault = rule.image.pack() if rule.image else ""
            given_code, answer = await self._serve(call, image_fault)
        # Before the connection may break: a provider charges for what it made, not for what
        # arrives.
        charged = rule.charges(given_code)
        self._write_bill(call, given_code, charged=charged, fault=met.place)
        return rule.apply_to(answer)

    def close(self) -> None:
        """Close the bill."""
        self._bill.close()

    def _receive(self, raw: bytes) -> _Call:
        started = time.monotonic_ns()
        self._calls += 1
        try:
            body = json.loads(raw)
            asked_for = {
                # How an image comes does not change it.
                name: value
                for name, value in body.items()
                if name != "return_url"
            }
            text = _canonical(asked_for).encode()
        except (ValueError, AttributeError, RecursionError):
            # Not JSON, not an object, or text that is not Unicode.
            body = {}
            text = raw
        return _Call(
            number=self._calls,
            body=body,
            key=hashlib.sha256(text).hexdigest(),
            request_id=new_request_id(),
            started=started,
        )

    def _meet(self, call: _Call) -> "Met | None":
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
            second=(call.started - self._began) / 1e9,
        )
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
        call: _Call,
        image_fault: str,
    ) -> tuple[int, SimulatedResponse]:
        """Return the code and the answer of the service itself."""
        code = self._limits.enter()
        if code is not None:
            return code, service_answer(code, call.request_id, call.elapsed)
        try:
            data = None
            if call.body and call.body.get("req_key") not in REQ_KEYS:
                code = DENIED
            elif not is_accepted(call.body):
                code = INVALID
            else:
                code = SUCCESS
                # Give or take a tenth, and the same for the same request.
                jitter = 0.9 + 0.2 * int(call.key[:8], 16) / 0xFFFFFFFF
                if self._settings.latency:
                    await asyncio.sleep(self._settings.latency * jitter)
                data = await self._make_result(call, image_fault)
            return code, service_answer(code, call.request_id, call.elapsed, data=data)
        finally:
            self._limits.leave()

    async def _make_result(
        self,
        call: _Call,
        image_fault: str,
    ) -> dict[str, Any]:
        """Return the `data` of a success."""
        rephrased = ""
        if call.body.get("use_rephraser", True):
            rephrased = rephrase(call.prompt)
        recipe = recipe_of(call.body, rephrased or call.prompt)
        recipes = [recipe]
        if recipe.canny:
            # As the provider does: the contours that it used come as a second image.
            recipes.append(recipe._replace(contour=True))
        urls = []
        inline = []
        for each in recipes:
            if call.body.get("return_url"):
                life = self._settings.url_life
                urls.append(image_url(self._base_url, each, life, image_fault))
            else:
                picture = await self._render(pack(each))
                inline.append(base64.b64encode(picture).decode())
        return {
            "algorithm_base_resp": {"status_code": 0, "status_message": "Success"},
            "binary_data_base64": inline,
            "image_urls": urls,
            "predict_tags_result": "",
            "rephraser_result": rephrased,
            "request_id": hashlib.sha256(call.request_id.encode()).hexdigest(),
        }

    def _write_bill(
        self,
        call: _Call,
        code: int | str | None,
        *,
        charged: bool,
        fault: int | None,
    ) -> None:
        self._bill.write(
            Entry(
                call=call.number,
                key=call.key,
                req_key=str(call.body.get("req_key", "")),
                code=code,
                charged=charged,
                request_id=call.request_id,
                fault=fault,
            )
        )


def _answer_by_rule(rule: "Rule", call: _Call) -> SimulatedResponse:
    """Return what a rule says instead of the service."""
    if rule.code is None:
        # Its status and body are put in by what the rule does to any answer.
        return SimulatedResponse(200, b"")
    if isinstance(rule.code, str):
        return named_error(rule.code, rule.message)
    return service_answer(
        rule.code,
        call.request_id,
        call.elapsed,
        message=rule.message,
    )
