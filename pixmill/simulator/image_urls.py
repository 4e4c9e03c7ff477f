"""Image URLs that live for a while: the recipe of the picture, its expiry and a signature, and nothing kept here.

So a URL outlives its server: another one at the same address paints the same picture.
"""

import base64
import hmac
import time
from collections.abc import Mapping
from urllib.parse import quote

from pixmill.simulator.recipe import Recipe, pack

FAULT = "x-fault"
"""The query parameter with the fault of an image, which so outlives its server too."""

_PREFIX = "/images/"
_SUFFIX = ".image"
# No secret: whoever forges a URL gets a picture that is there for everybody. Clients shall meet the refusal.
_KEY = b"pixmill simulated image links"


def image_url(base_url: str, recipe: Recipe, life: float, fault: str = "") -> str:
    """The URL of a picture for the next `life` seconds, in the provider's form; `fault` is what fetching it meets."""
    token = pack(recipe)
    expires = str(int(time.time() + life))
    signature = _signature(token, expires, fault)
    signed = (
        f"rk3s={token[-8:]}&x-expires={expires}&x-signature={quote(signature, safe='')}"
    )
    return f"{base_url}{_PREFIX}{token}{_SUFFIX}?{signed}" + (
        f"&{FAULT}={fault}" if fault else ""
    )


def is_image(path: str) -> bool:
    """Whether a path is that of a picture."""
    return path.startswith(_PREFIX) and path.endswith(_SUFFIX)


def token_of(path: str, query: Mapping[str, str]) -> str | None:
    """The packed recipe of an image URL, or None if it has expired or was not made here."""
    token = path.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    expires = query.get("x-expires", "")
    signature = _signature(token, expires, query.get(FAULT, ""))
    genuine = hmac.compare_digest(
        query.get("x-signature", "").encode(), signature.encode()
    )
    return token if genuine and time.time() < int(expires) else None


def _signature(token: str, expires: str, fault: str) -> str:
    return base64.b64encode(
        hmac.digest(_KEY, f"{token} {expires}{fault}".encode(), "sha1")
    ).decode()
