"""What a fault does to an HTTP answer: to its words, to its bytes, and on the wire. The same for calls and images."""

import base64
import struct
import zlib
from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pixmill.simulator.responses import ConnectionPlan, SimulatedResponse

Broken = Literal["truncated", "malformed", "html", "bomb"]

_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"
_BOMB_SIDE = 50_000  # pixels: 7.5 GB when decoded
_BOMB_MIBS = 100
_MIB = 1 << 20


class Effect(BaseModel):
    """What becomes of an answer; see docs/simulator.md for the fields. `delay` and `pace` are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    status: Annotated[int, Field(ge=200, le=599)] | None = None
    body: str | None = None
    headers: dict[str, str] = {}
    delay: Annotated[float, Field(ge=0)] = 0
    broken: Broken | None = None
    wire: Literal["reset", "close", "stall", "drip", "endless"] | None = None
    at: Literal["start", "headers", "body", "middle"] = "middle"
    pace: Annotated[float, Field(gt=0)] = 1

    @model_validator(mode="after")
    def _at_and_pace_need_a_wire(self) -> Self:
        idle = {"at", "pace"} & self.model_fields_set
        if idle and self.wire is None:
            raise ValueError(
                f"{' and '.join(sorted(idle))}: say by wire what happens there"
            )
        return self

    def on(self, answer: SimulatedResponse) -> SimulatedResponse:
        """What comes of an answer, all but its delay."""
        status = self.status or answer.status
        body = answer.body if self.body is None else self.body.encode()
        told = _spoilt(self.broken, answer._replace(status=status, body=body))
        wire = ConnectionPlan(self.wire, self.at, self.pace) if self.wire else None
        return told._replace(headers=(*told.headers, *self.headers.items()), wire=wire)


class ImageEffect(Effect):
    """What becomes of an image, whose URL carries it; `times` limits how many fetches of a URL meet it."""

    times: Annotated[int, Field(ge=1)] | None = None

    def pack(self) -> str:
        """The effect as a part of a URL."""
        return (
            base64.urlsafe_b64encode(
                self.model_dump_json(exclude_defaults=True).encode()
            )
            .decode()
            .rstrip("=")
        )

    @classmethod
    def unpack(cls, packed: str) -> Self:
        """The effect of `pack`."""
        return cls.model_validate_json(
            base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        )


def _spoilt(broken: Broken | None, answer: SimulatedResponse) -> SimulatedResponse:
    half = len(answer.body) // 2
    match broken:
        case "truncated":
            return answer._replace(body=answer.body[:half])
        case "malformed":
            return answer._replace(body=answer.body[half:] + answer.body[:half])
        case "html":
            page = _PAGE.format(f"{answer.status} from a machine in between").encode()
            return answer._replace(body=page, content_type="text/html")
        case "bomb" if answer.content_type.startswith("image/"):
            return answer._replace(body=_bomb_png(), content_type="image/png")
        case "bomb":
            return answer._replace(
                body=_bomb_gzip(),
                headers=(*answer.headers, ("Content-Encoding", "gzip")),
            )
    return answer


@lru_cache
def _bomb_png() -> bytes:
    """A few bytes that claim 50,000 x 50,000 pixels."""
    shape = struct.pack(">IIBBBBB", _BOMB_SIDE, _BOMB_SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", shape), (b"IDAT", zlib.compress(bytes(_MIB))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return (
        struct.pack(">I", len(data))
        + name
        + data
        + struct.pack(">I", zlib.crc32(name + data))
    )


@lru_cache
def _bomb_gzip() -> bytes:
    """100 KB that unfold to 100 MB."""
    packer = zlib.compressobj(wbits=31)
    zeros = bytes(_MIB)
    return b"".join(packer.compress(zeros) for _ in range(_BOMB_MIBS)) + packer.flush()
