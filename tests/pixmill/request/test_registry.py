"""Registered operations: what each takes, and what it is told apart by."""

import json
from dataclasses import replace
from hashlib import sha256

import pytest

from pixmill.planning.jobs import Job, with_seed
from pixmill.request import operations, registry
from pixmill.request.canonical_json import canonical_json, json_text
from pixmill.request.fingerprint import request_shape
from pixmill.request.model import Request
from pixmill.request.registry import operation_of, requested_mode

SEEDLESS = replace(
    operation_of("jimeng_t2i_v31"), req_key="seedless", seed=None, parameters=None
)


def test_an_unregistered_operation_is_called_as_the_config_says() -> None:
    assert requested_mode(Request(req_key="nobody_knows")) == "sync"
    assert requested_mode(Request(req_key="nobody_knows", mode="async")) == "async"
    assert requested_mode(Request(req_key="jimeng_t2i_v31")) == "async"


def test_the_key_of_a_request_without_a_seed_is_canonical_and_has_the_replicate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "OPERATIONS", {"seedless": SEEDLESS})
    shape = request_shape(Request(req_key="seedless", params={"size": 7}))
    hashed = canonical_json(
        {
            "image": [],
            "operation": "CVProcess",
            "params": {"size": 7},
            "prompt": "a cat",
            "replicate": 2,
            "req_key": "seedless",
            "version": 1,
        }
    )
    key = shape.job_key("[]", json_text("a cat"), 2)
    assert key == sha256(hashed.encode()).hexdigest()


def test_a_request_without_seed_and_prompt_sends_neither() -> None:
    shape = request_shape(
        Request(req_key="nobody_knows", params={"size": 7}, mode="async")
    )
    job = Job("key", 1, "", "", "nobody_knows", shape.head(None, None), None)
    assert json.loads(job.payload()) == {"req_key": "nobody_knows", "size": 7}
    assert with_seed(b'{"a":1', None) == b'{"a":1}'


def test_every_operation_is_registered_once_under_its_own_name() -> None:
    for req_key, operation in operations.OPERATIONS.items():
        assert operation.req_key == req_key
        assert operation.title
