"""What makes two jobs the same: job keys, seeds and the canonical request that is both hashed and sent.

A job key is the SHA-256 of canonical JSON over everything that changes the image and nothing else: operation,
req_key, input image identity, prompt, generation parameters with defaults filled in, seed, and the key version.
Row key, position, credentials, provider URL, limits and output options are not in it. A golden file in the
tests pins keys: when they must change, `KEY_VERSION` changes and every image is paid for again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np

from pixmill.request.canonical_json import JsonValue, canonical_json, json_text
from pixmill.request.registry import keyed_parameters, resolve_parameters

KEY_VERSION = 1
_SEED_MASK = 2**31 - 1
_SEPARATOR = "\x1f"
"""Joins the parts of a seed. No part can hold it: prompts and URLs with control characters are invalid."""


@dataclass(frozen=True)
class RequestShape:
    """What all requests with the same parameters share, as canonical JSON cut where the row's values go in.

    `key_middle` and `key_tail` stand before and after the prompt in the text that is hashed; `body_head` begins
    the body that is sent.
    """

    params: str
    key_middle: str
    key_tail: str
    body_head: str

    def job_keys(
        self, images: Iterable[str], prompts: Iterable[str], seeds: Iterable[int]
    ) -> list[str]:
        """Return a job key, 64 hex characters, per request. `images` are canonical JSON, `prompts` JSON strings."""
        middle = self.key_middle
        tail = self.key_tail
        end = f',"version":{KEY_VERSION}}}'
        return [
            sha256(
                f'{{"image":{image}{middle}{prompt}{tail}{seed}{end}'.encode()
            ).hexdigest()
            for image, prompt, seed in zip(images, prompts, seeds, strict=True)
        ]

    def job_key(self, image: str, prompt: str, seed: int) -> str:
        """Return the job key of one request."""
        return self.job_keys([image], [prompt], [seed])[0]

    def head(self, image_urls: str | None, prompt: str) -> str:
        """Return the beginning of the JSON body to send; local images and the seed are put in when it is sent."""
        urls = f',"image_urls":{image_urls}' if image_urls else ""
        return f'{self.body_head}{urls},"prompt":{prompt}'


def request_shape(
    operation: str, req_key: str, params: Mapping[str, Any]
) -> RequestShape:
    """Return the shape of requests with `params`; raises `pydantic.ValidationError` where they are wrong."""
    resolved = resolve_parameters(req_key, params)
    keyed = canonical_json(keyed_parameters(req_key, resolved))
    sent: dict[str, JsonValue] = {**resolved, "req_key": req_key}
    return RequestShape(
        params=canonical_json(resolved),
        key_middle=f',"operation":{json_text(operation)},"params":{keyed},"prompt":',
        key_tail=f',"req_key":{json_text(req_key)},"seed":',
        body_head=canonical_json(sent)[:-1],
    )


def url_list(urls: Sequence[str]) -> str:
    """Return the JSON list of input image URLs exactly as they stand in the table: it is both sent and hashed."""
    return f"[{','.join(map(json_text, urls))}]"


def file_identity(hashes: Sequence[str]) -> str:
    """Return the canonical JSON that identifies local input images by the SHA-256 of their content."""
    return canonical_json([{"sha256": value} for value in hashes])


def without_params(url: str, ignored: frozenset[str]) -> str:
    """Return `url` without the query parameters named in `ignored`; other URLs come back untouched.

    So does what can't be split: its row is invalid.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in pairs if name not in ignored]
    return (
        url
        if len(kept) == len(pairs)
        else urlunsplit(parts._replace(query=urlencode(kept)))
    )


def row_seeds(
    base: int,
    images: Iterable[str],
    raw_prompts: Iterable[str],
    replicate: int,
    point_id: str | None = None,
) -> list[int]:
    """Return the derived seed of each row, 0 to 2**31 - 1: equal rows share one, every replicate has its own.

    Policy `per_row` gives no `point_id`, so that the points of a row share its seed; with one it is `per_job`.
    `images` are image identities, `raw_prompts` the mapped prompt column in NFC. Seeds are derived, because the API
    never returns the one that it drew for -1.
    """
    head = f"seed1{_SEPARATOR}{base}{_SEPARATOR}"
    tail = f"{_SEPARATOR}{replicate}" + (
        "" if point_id is None else f"{_SEPARATOR}{point_id}"
    )
    texts = (
        f"{head}{image}{_SEPARATOR}{prompt}{tail}"
        for image, prompt in zip(images, raw_prompts, strict=True)
    )
    digests = b"".join([sha256(text.encode()).digest() for text in texts])
    # The first four bytes of each of the 32, all at once: a number for every row by itself takes twice as long.
    return (np.frombuffer(digests, ">u4")[::8] & _SEED_MASK).tolist()  # type: ignore[no-any-return]


def replicate_seed(seed: int, replicate: int) -> int:
    """Return the seed of a replicate where seeds are given: they count up from the first, and wrap around."""
    return (seed + replicate) & _SEED_MASK


def reroll_seed(seed: int, number: int) -> int:
    """Return the seed of the `number`-th new try (1, 2, …) of an output that moderation refused under `seed`."""
    return _drawn(f"reroll1{_SEPARATOR}{seed}{_SEPARATOR}{number}")


def _drawn(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big") & _SEED_MASK
