"""What makes two jobs the same: job keys, seeds, and the canonical texts that are hashed for a key and sent.

A job key is the SHA-256 of canonical JSON over everything that changes the image and nothing else: operation,
req_key, input image identity, prompt, generation parameters with defaults filled in, seed, and the key version.
Row key, position, credentials, provider URL, limits and output options are not in it. A golden file in the
tests pins keys: when they must change, `KEY_VERSION` changes and every image is paid for again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np

from pixmill.request.canonical_json import JsonValue, canonical_json, json_text
from pixmill.request.model import Request
from pixmill.request.operations.operation import InputImages
from pixmill.request.registry import (
    keyed_parameters,
    requested_mode,
    requested_operation,
    resolve_parameters,
)

KEY_VERSION = 1

# The API takes seeds of 31 bits.
_SEED_MASK = 2**31 - 1

# Joins the parts of a seed. No part can hold it: prompts and URLs with control characters
# are invalid.
_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class RequestShape:
    """What all requests with the same parameters share.

    It is canonical JSON, cut where the values of the row go in. What is hashed is

        {"image":…,"operation":"…","params":{…},"prompt":"…","req_key":"…","seed":7,"version":1}
                  └─────────── key_middle ───────────┘   └───── key_tail ─────┘ └─ key_end ─┘

    Of an operation without a seed, the replicate's number tells equal requests apart:

        {…,"prompt":"…","replicate":0,"req_key":"…","version":1}
                       └ key_tail ──┘ └────── key_end ────────┘
    """

    params: str
    """The resolved parameters, as a JSON object."""

    key_middle: str
    """What is between image and prompt in the text that is hashed."""

    key_tail: str
    """What is between the prompt and the seed, or the replicate's number, there."""

    key_end: str
    """What comes after that number."""

    body_head: str
    """The beginning of the body that is sent: a JSON object that is not closed yet."""

    prompt_field: str
    """The field that holds the prompt."""

    images: InputImages
    """The field that holds the URLs of input images."""

    result_options: str | None = None
    """What each poll of an asynchronous operation says about delivery, as a JSON object.

    None where the operation is called synchronously: then the body holds it.
    """

    def job_keys(
        self,
        images: Iterable[str],
        prompts: Iterable[str],
        numbers: Iterable[int],
    ) -> list[str]:
        """Return the job key, 64 hex characters, of each request.

        `images` are canonical JSON (`url_list`, `file_identity`), `prompts` JSON strings
        (`json_text`), `numbers` seeds, or replicates where the operation has no seed; all
        three are of one length.
        """
        # Local names and one text: this loop runs once for each job of a plan.
        middle = self.key_middle
        tail = self.key_tail
        end = self.key_end
        keys = []
        for image, prompt, number in zip(images, prompts, numbers, strict=True):
            text = f'{{"image":{image}{middle}{prompt}{tail}{number}{end}'
            keys.append(sha256(text.encode()).hexdigest())
        return keys

    def job_key(
        self,
        image: str,
        prompt: str,
        number: int,
    ) -> str:
        """Return the job key of one request."""
        return self.job_keys([image], [prompt], [number])[0]

    def head(
        self,
        image_urls: str | None,
        prompt: str | None,
    ) -> str:
        """Return the beginning of the JSON body of one request.

        `image_urls` is a JSON list (`url_list`), `prompt` a JSON string. A request without one has
        no such field.

        Local images and the seed are put in when it is sent: images would fill the memory,
        and another draw has another seed.
        """
        urls = ""
        if image_urls:
            value = image_urls if self.images.is_list else image_urls[1:-1]
            urls = f',"{self.images.url_field}":{value}'
        text = "" if prompt is None else f',"{self.prompt_field}":{prompt}'
        return f"{self.body_head}{urls}{text}"


def request_shape(request: Request) -> RequestShape:
    """Return the shape of requests with the operation and the params of `request`.

    Raises `pydantic.ValidationError` where they are wrong.
    """
    operation = requested_operation(request)
    resolved = resolve_parameters(operation, request.params)
    keyed = canonical_json(keyed_parameters(operation, resolved))
    sent: dict[str, JsonValue] = {**resolved, "req_key": request.req_key}
    options = None
    if requested_mode(request) == "async":
        # A poll that leaves `return_url` out gets the images themselves, and several of 4K would be
        # more than an answer may hold.
        delivered: dict[str, JsonValue] = {"return_url": True}
        for name in operation.delivery & sent.keys():
            # What belongs to the poll is not in the body of the submit.
            delivered[name] = sent.pop(name)
        options = canonical_json(delivered)
    family = json_text(request.operation)
    key = json_text(request.req_key)
    version = f',"version":{KEY_VERSION}}}'
    if operation.seed:
        tail = f',"req_key":{key},"seed":'
        end = version
    else:
        # Canonical JSON sorts its keys: `replicate` comes before `req_key`.
        tail = ',"replicate":'
        end = f',"req_key":{key}{version}'
    return RequestShape(
        params=canonical_json(resolved),
        key_middle=f',"operation":{family},"params":{keyed},"prompt":',
        key_tail=tail,
        key_end=end,
        body_head=canonical_json(sent)[:-1],
        prompt_field=operation.prompt.name if operation.prompt else "prompt",
        images=operation.images,
        result_options=options,
    )


def url_list(urls: Sequence[str]) -> str:
    """Return the JSON list of input image URLs exactly as the table has them.

    It is both sent and hashed.
    """
    literals = ",".join(map(json_text, urls))
    return f"[{literals}]"


def file_identity(hashes: Sequence[str]) -> str:
    """Return the canonical JSON that identifies local input images by the SHA-256 of their content."""
    return canonical_json([{"sha256": value} for value in hashes])


def without_params(
    url: str,
    ignored: frozenset[str],
) -> str:
    """Return `url` without the query parameters named in `ignored`.

    Signatures and expiry dates are such: with them every listing of a bucket would be paid
    for again. A URL without any of them comes back untouched, not written anew.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        # The checks of rows say what is wrong with it.
        return url
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in pairs if name not in ignored]
    if len(kept) == len(pairs):
        return url
    return urlunsplit(parts._replace(query=urlencode(kept)))


def row_seeds(
    base: int,
    images: Iterable[str],
    raw_prompts: Iterable[str],
    replicate: int,
    point_id: str | None = None,
) -> list[int]:
    """Return the derived seed of each row, 0 to 2**31 - 1.

    Equal rows share one, every replicate has its own. Policy `per_row` gives no `point_id`,
    so that the points of a row share its seed; policy `per_job` gives one. `images` are image
    identities, `raw_prompts` the mapped prompt column in NFC.

    Seeds are derived, because the API never returns the one that it drew for -1.
    """
    # The 1 is the version of this way to derive seeds.
    head = f"seed1{_SEPARATOR}{base}{_SEPARATOR}"
    tail = f"{_SEPARATOR}{replicate}"
    if point_id is not None:
        tail += f"{_SEPARATOR}{point_id}"
    digests = []
    for image, prompt in zip(images, raw_prompts, strict=True):
        text = f"{head}{image}{_SEPARATOR}{prompt}{tail}"
        digests.append(sha256(text.encode()).digest())
    # The first four bytes of each of the 32, all at once: a number for every row by itself
    # takes twice as long.
    words = np.frombuffer(b"".join(digests), ">u4")
    return (words[::8] & _SEED_MASK).tolist()  # type: ignore[no-any-return]


def replicate_seed(
    seed: int,
    replicate: int,
) -> int:
    """Return the seed of a replicate where seeds are given.

    They count up from the first, and wrap around.
    """
    return (seed + replicate) & _SEED_MASK


def reroll_seed(
    seed: int,
    number: int,
) -> int:
    """Return the seed of the `number`-th new try (1, 2, …) of a refused output.

    `seed` is the one under which moderation refused the picture first.
    """
    text = f"reroll1{_SEPARATOR}{seed}{_SEPARATOR}{number}"
    digest = sha256(text.encode()).digest()
    return int.from_bytes(digest[:4], "big") & _SEED_MASK
