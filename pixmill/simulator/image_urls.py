"""Image URLs that live for a while: the recipe of the picture, its expiry and a signature.

Nothing is kept here, so a URL outlives its server: another one at the same address paints the
same picture.
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

# Not a secret: whoever forges a URL gets a picture that is there for everybody. It is there so
# that clients meet the refusal.
_KEY = b"pixmill simulated image links"


def image_url(
    base_url: str,
    recipe: Recipe,
    life: float,
    fault: str = "",
) -> str:
    """Return the URL of a picture for the next `life` seconds, in the provider's form.

    `fault` is what fetching it meets, as `ImageEffect.pack` writes it.
    """
    token = pack(recipe)
    expires = str(int(time.time() + life))
    signature = quote(_sign(token, expires, fault), safe="")
    query = f"rk3s={token[-8:]}&x-expires={expires}&x-signature={signature}"
    if fault:
        query += f"&{FAULT}={fault}"
    return f"{base_url}{_PREFIX}{token}{_SUFFIX}?{query}"


def is_image(path: str) -> bool:
    """Whether a path is that of a picture."""
    return path.startswith(_PREFIX) and path.endswith(_SUFFIX)


def token_of(
    path: str,
    query: Mapping[str, str],
) -> str | None:
    """Return the packed recipe of an image URL; None if it has expired or was not made here."""
    token = path.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    expires = query.get("x-expires", "")
    expected = _sign(token, expires, query.get(FAULT, ""))
    sent = query.get("x-signature", "")
    if not hmac.compare_digest(sent.encode(), expected.encode()):
        return None
    # A number, as the signature covers it.
    return token if time.time() < int(expires) else None


def _sign(
    token: str,
    expires: str,
    fault: str,
) -> str:
    signed = f"{token} {expires}{fault}"
    digest = hmac.digest(_KEY, signed.encode(), "sha1")
    return base64.b64encode(digest).decode()
