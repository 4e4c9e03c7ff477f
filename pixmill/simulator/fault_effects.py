"""What a fault does to an HTTP answer: to its words, to its bytes, and to the connection.

The same for calls and images.
"""

import json
import struct
import zlib
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pixmill.simulator.recipe import from_url_text, to_url_text
from pixmill.simulator.responses import ConnectionPlan, SimulatedResponse

Broken = Literal["truncated", "malformed", "html", "bomb", "rewritten"]

_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"

# In pixels: 7.5 GB when decoded.
_BOMB_SIDE = 50_000

_BOMB_MIBS = 100
_MIB = 1 << 20


class Effect(BaseModel):
    """What becomes of an answer; docs/simulator.md says what the fields do."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    status: Annotated[int, Field(ge=200, le=599)] | None = None
    body: str | None = None
    headers: dict[str, str] = {}

    delay: Annotated[float, Field(ge=0)] = 0
    """Seconds before anything is said."""

    broken: Broken | None = None

    wire: Literal["reset", "close", "stall", "drip", "endless"] | None = None
    """What the connection does from the point `at` on."""

    at: Literal["start", "headers", "body", "middle"] = "middle"

    pace: Annotated[float, Field(gt=0)] = 1
    """Seconds for each byte of a `drip`."""

    @model_validator(mode="after")
    def _at_and_pace_need_a_wire(self) -> Self:
        idle = {"at", "pace"} & self.model_fields_set
        if idle and self.wire is None:
            fields = " and ".join(sorted(idle))
            raise ValueError(f"{fields}: say by wire what happens there")
        return self

    def apply_to(self, answer: SimulatedResponse) -> SimulatedResponse:
        """Return what comes of `answer`, all but the delay."""
        if self.status:
            answer = answer._replace(status=self.status)
        if self.body is not None:
            answer = answer._replace(body=self.body.encode())
        if self.broken:
            answer = _break(self.broken, answer)
        if self.wire:
            plan = ConnectionPlan(self.wire, self.at, self.pace)
            answer = answer._replace(connection=plan)
        # Behind those of the answer: the later of two with one name wins.
        headers = (*answer.headers, *self.headers.items())
        return answer._replace(headers=headers)


class ImageEffect(Effect):
    """What becomes of an image, whose URL carries it."""

    times: Annotated[int, Field(ge=1)] | None = None
    """How many fetches of a URL meet it; without, all."""

    def pack(self) -> str:
        """Return the effect as a part of a URL."""
        text = self.model_dump_json(exclude_defaults=True)
        return to_url_text(text.encode())

    @classmethod
    def unpack(cls, packed: str) -> Self:
        """Return the effect that `pack` made text of."""
        return cls.model_validate_json(from_url_text(packed))


def _break(broken: Broken, answer: SimulatedResponse) -> SimulatedResponse:
    half = len(answer.body) // 2
    match broken:
        case "truncated":
            return answer._replace(body=answer.body[:half])
        case "malformed":
            return answer._replace(body=answer.body[half:] + answer.body[:half])
        case "html":
            page = _PAGE.format(f"{answer.status} from a machine in between").encode()
            return answer._replace(body=page, content_type="text/html")
        case "rewritten":
            # As gateways with an API of their own say it: no `code`, a task is an object with its
            # `status`, pictures are a list.
            try:
                data = json.loads(answer.body)["data"] or {}
            except (ValueError, LookupError, TypeError):
                data = {}
            said: dict[str, Any]
            if "task_id" in data:
                said = {
                    "id": data["task_id"],
                    "task_id": data["task_id"],
                    "status": "queued",
                }
            elif "status" in data:
                said = {"object": "task", "status": data["status"], "progress": 0}
            else:
                urls = data.get("image_urls") or []
                said = {"created": 0, "data": [{"url": url} for url in urls]}
            return answer._replace(body=json.dumps(said, allow_nan=False).encode())
        case "bomb" if answer.content_type.startswith("image/"):
            return answer._replace(body=_bomb_png(), content_type="image/png")
        case "bomb":
            headers = (*answer.headers, ("Content-Encoding", "gzip"))
            return answer._replace(body=_bomb_gzip(), headers=headers)


@lru_cache
def _bomb_png() -> bytes:
    """Return a few bytes that claim 50,000 x 50,000 pixels."""
    # 8 bits a channel and colour type 2, RGB; the zeros are the only methods that PNG has.
    header = struct.pack(">IIBBBBB", _BOMB_SIDE, _BOMB_SIDE, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(_MIB))
    png = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")):
        checksum = zlib.crc32(name + data)
        png += struct.pack(">I", len(data))
        png += name + data
        png += struct.pack(">I", checksum)
    return png


@lru_cache
def _bomb_gzip() -> bytes:
    """Return 100 KB that unfold to 100 MB."""
    # 16 more than the largest window is gzip's format.
    packer = zlib.compressobj(wbits=31)
    zeros = bytes(_MIB)
    packed = b"".join(packer.compress(zeros) for _ in range(_BOMB_MIBS))
    return packed + packer.flush()
