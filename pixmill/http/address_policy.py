"""What a host or a URL denotes: which addresses are public, which texts are addresses in disguise.

Two uses. `check_public` judges an address that is about to be connected to; that is what keeps a
fetch out of private networks. `url_problem` judges an input URL, which only the provider will
fetch: a private address can't be reached from there, and sending it would give internal names away.
"""

import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from encodings.idna import nameprep
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import unquote, urlsplit

from pixmill.errors import PixmillError
from pixmill.threads import call_in_thread

MAX_URL_CHARACTERS = 8192
"""Servers and proxies take no more."""

LookUp = Callable[[str], Sequence[str]]
"""From the name of a host to its addresses; OSError or UnicodeError where it has none."""

_GLOBAL_UNICAST = ip_network("2000::/3")
"""All the IPv6 space that is given out (RFC 4291)."""

_SPECIAL = tuple(
    ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's host agent, the same on every machine there
        "192.0.0.0/24",  # protocol assignments; Oracle Cloud's metadata
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # protocol assignments, Teredo among them
        "3fff::/20",  # documentation
    )
)
"""Networks that `is_global` takes for public, in one version of Python or another."""

_IPV4_IN_LAST_32_BITS = (0, 0xFFFF, 0x64FF9B << 64)
"""The upper 96 bits of ::/96, of ::ffff:0:0/96 (mapped addresses) and of 64:ff9b::/96 (NAT64)."""

_LOCAL_NAMES = ("localhost", "local", "internal")
"""RFC 6761, RFC 6762, and ICANN's domain for private use."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_NOT_IN_URLS = re.compile(r"[\s\\\x00-\x20\x7f-\x9f\ud800-\udfff]")
_DOTS = re.compile(r"[.\u3002\uff0e\uff61]")
"""The four that IDNA takes for one (RFC 3490)."""

_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9_\-\x80-\U0010ffff]{1,63}(\.[a-z0-9_\-\x80-\U0010ffff]{1,63})*"
)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class AddressRefused(PixmillError):
    """The address is not one of the public internet."""


def check_public(address: str) -> None:
    """Raise AddressRefused for an `address` (IPv4 or IPv6) that isn't globally routable unicast.

    An IPv4 address inside of an IPv6 one is what counts: translators would send the connection
    there.
    """
    try:
        public = _is_public(ip_address(address.partition("%")[0]))
    except ValueError:
        public = False
    if not public:
        raise AddressRefused(f"{address} is not a public address")


def literal_address(host: str) -> str | None:
    """The address that `host` denotes without a look-up, in its usual form; None if it is a name.

    Knows what resolvers and browsers accept: `2130706433`, `0x7f000001`, `0177.0.0.1`, `127.1`,
    `[::1]`, a zone, digits of other scripts, percent escapes, a dot at the end.
    """
    text = _fold(host).strip("[]").partition("%")[0]
    try:
        if ":" in text:
            return str(IPv6Address(text))
        if not _NAME.fullmatch(text):
            # glibc's inet_aton stops reading at white space, and would take the first half for an
            # address.
            return None
        return str(IPv4Address(socket.inet_aton(text)))
    except (OSError, ValueError):
        return None


def url_problem(url: str) -> str | None:
    """The reason code why an input image `url` can't be given to the provider, None if it can.

    One of `missing_url`, `malformed_url`, `url_scheme`, `url_credentials`, `private_address`.
    """
    if not url.strip():
        return "missing_url"
    scheme = _SCHEME.match(url)
    if scheme and scheme[1].lower() not in ("http", "https"):
        return "url_scheme"
    if not scheme or len(url) > MAX_URL_CHARACTERS or _NOT_IN_URLS.search(url):
        return "malformed_url"
    try:
        parts = urlsplit(url)
        host = parts.hostname
        port = parts.port
    except ValueError:
        return "malformed_url"
    if "@" in parts.netloc:
        return "url_credentials"
    if not host or port == 0:
        return "malformed_url"
    in_brackets = "[" in parts.netloc
    name = _fold(host)
    literal = literal_address(host)
    last = name.rpartition(".")[2]
    if last in _LOCAL_NAMES or (literal and not _is_public(ip_address(literal))):
        return "private_address"
    if in_brackets:
        return None if literal and "%" not in host else "malformed_url"
    if _NUMBER.fullmatch(last):
        # Programs disagree on what 010.1 or 134744072 is, and which numbers are too large.
        return None if literal == host else "malformed_url"
    return None if _NAME.fullmatch(name) else "malformed_url"


def look_up(host: str) -> list[str]:
    """The addresses of `host` by the system's resolver; OSError or UnicodeError if it has none."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def look_up_within(seconds: float, host: str, look_up: LookUp) -> Sequence[str]:
    """What `look_up` says of `host`; TimeoutError after `seconds`, RuntimeError where there is no
    thread for it.

    A look-up can't be interrupted, so it has a thread of its own, which is left behind if need be:
    a pool would be exhausted by names that hang, and would hold up the end of the process. An
    address needs none.
    """
    with suppress(ValueError):
        # After a % comes the name of an interface, which the system has to look up.
        if "%" not in host and ip_address(host):
            return [host]
    found = call_in_thread(partial(look_up, host), "pixmill-look-up")
    return found.result(seconds)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        inner = address.sixtofour
        if int(address) >> 32 in _IPV4_IN_LAST_32_BITS:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            # A translator or a tunnel would send the packets there.
            return _is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    return (
        address.is_global
        and not address.is_multicast
        and not any(address in net for net in _SPECIAL)
    )


def _fold(host: str) -> str:
    """`host` as resolvers read it: escapes undone, one kind of dot and digit, none at the end; ""
    if bad.
    """
    text = unquote(host)
    if text.isascii():
        return text.lower().rstrip(".")
    try:
        return ".".join(map(nameprep, _DOTS.split(text))).rstrip(".")
    except UnicodeError:
        return ""
