"""Addresses in every disguise, and the URLs that hold them."""

from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixmill.http.address_policy import (
    AddressRefused,
    check_public,
    literal_address,
    look_up,
    look_up_within,
    url_problem,
)

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "93.184.215.14",
    "223.255.255.254",
    "100.128.0.1",
    "172.32.0.1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "64:ff9b::808:808",  # NAT64 of 8.8.8.8, the way to it from a network without IPv4
    "2002:808:808::1",  # 6to4 of 8.8.8.8
    "::ffff:8.8.8.8",
]
NOT_PUBLIC = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.7",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",  # IPv4-compatible
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",  # translated (SIIT)
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "64:ff9b:1:808:8:808::",
    "100::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",  # Teredo of 127.0.0.1
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "localhost",
    "",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_passes(address: str) -> None:
    check_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_everything_else_is_refused_by_name(address: str) -> None:
    with pytest.raises(AddressRefused, match="is not a public address") as caught:
        check_public(address)
    assert str(caught.value).startswith(address)


LITERALS = {
    "127.0.0.1": "127.0.0.1",
    "127.0.0.1.": "127.0.0.1",
    "2130706433": "127.0.0.1",
    "017700000001": "127.0.0.1",
    "0x7f000001": "127.0.0.1",
    "0X7F000001": "127.0.0.1",
    "0177.0.0.1": "127.0.0.1",
    "0x7f.0.0.1": "127.0.0.1",
    "0x7f.1": "127.0.0.1",
    "127.1": "127.0.0.1",
    "127.0.1": "127.0.0.1",
    "127.0x0.00.1": "127.0.0.1",
    "0": "0.0.0.0",
    "①②⑦.⓪.⓪.①": "127.0.0.1",
    "１２７.０.０.１": "127.0.0.1",
    "𝟏𝟐𝟕.0.0.1": "127.0.0.1",
    "127。0。0。1": "127.0.0.1",
    "127．0｡0．1": "127.0.0.1",
    "127.0.0.\u200b1": "127.0.0.1",
    "127.0.0.%31": "127.0.0.1",
    "%31%32%37.1": "127.0.0.1",
    "[::1]": "::1",
    "::1": "::1",
    "[0:0:0:0:0:0:0:1]": "::1",
    "[::ffff:127.0.0.1]": "::ffff:7f00:1",
    "fe80::1%eth0": "fe80::1",
    "[fe80::1%25eth0]": "fe80::1",
    "2852039166": "169.254.169.254",
}


@pytest.mark.parametrize(("host", "address"), LITERALS.items())
def test_an_address_is_seen_in_every_spelling(host: str, address: str) -> None:
    found = literal_address(host)
    assert found is not None
    assert (
        found.replace("::ffff:127.0.0.1", "::ffff:7f00:1") == address
    )  # Python 3.13 prints it in the other form


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "127.0.0.1.example.com",
        "256.1.1.1",
        "1.2.3.4.5",
        "4294967296",
        "08.1.1.1",
        "0x",
        "dead:beef",
        "",
        ".",
        "127.0.0.1 x",
        "127.0.0.1\0",
        "face.b00c",
        "\ud800",
    ],
)
def test_a_name_is_no_address(host: str) -> None:
    assert literal_address(host) is None


@given(
    st.integers(0, 2**32 - 1),
    st.lists(
        st.sampled_from(["{}", "{:#x}", "0{:o}", "{:#X}"]), min_size=4, max_size=4
    ),
)
def test_all_spellings_of_an_ipv4_address_denote_it(
    number: int, forms: list[str]
) -> None:
    address = str(IPv4Address(number))
    parts = [
        form.format(part) for form, part in zip(forms, number.to_bytes(4), strict=True)
    ]
    assert literal_address(".".join(parts)) == address
    assert literal_address(forms[0].format(number)) == address
    assert (
        literal_address(f"{parts[0]}.{forms[1].format(number & 0xFFFFFF)}") == address
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.jpg",
        "http://example.com",
        "HTTPS://Example.COM:8443/a?b=c&d=%20#e",
        "https://example.com./a.jpg",
        "https://cdn_1.example-2.co.uk/a(1)!$&'()*+,;=:@~.jpg",
        "https://例え.jp/画像.jpg",
        "https://example.com/画像/é.jpg?名=値",
        "https://xn--r8jz45g.jp/a.jpg",
        "https://example.com/a.jpg?u=http://127.0.0.1/",
        "https://example.com/user@host/a.jpg",
        "https://8.8.8.8/a.jpg",
        "https://[2606:4700:4700::1111]:443/a.jpg",
        "https://example.com/%zz.jpg",
        "https://example.com:/a.jpg",
        "https://localhost.example.com/a.jpg",
        "https://example.com/" + "a" * 8000,
    ],
)
def test_an_ordinary_url_passes(url: str) -> None:
    assert url_problem(url) is None


PROBLEMS = {
    "missing_url": ["", " ", "\t\n"],
    "url_scheme": [
        "ftp://example.com/a.jpg",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA" + "A" * 9000,
        "gopher://example.com/",
        "javascript:alert(1)",
        "httpx://example.com/",
        "C:\\pictures\\a.jpg",
    ],
    "malformed_url": [
        "example.com/a.jpg",
        "//example.com/a.jpg",
        "not a url",
        "http:",
        "http://",
        "http:///a.jpg",
        "http:example.com/a.jpg",
        "https://?a",
        " https://example.com/a.jpg",
        "https://example.com/a b.jpg",
        "https://example.com/a.jpg\n",
        "https://exam\tple.com/a.jpg",
        "https://example.com/\x00",
        "https://example.com/\x7f",
        "https://example.com/\x85",
        "https://example.com/\u3000",
        "https://example.com/\u2028",
        "https://example.com/\ud800.jpg",
        "https://example.com\\a.jpg",
        "https:\\\\example.com/a.jpg",
        "https://example.com:99999/",
        "https://example.com:0/",
        "https://example.com:-1/",
        "https://example.com:80x/",
        "https://example..com/",
        "https://.example.com/",
        "https://exa$mple.com/",
        "https://exam%20ple.com/",
        "https://example.com%2f.evil.com/",
        "https://example.com／evil/",
        "https://" + "a" * 64 + ".com/",
        "https://" + "a." * 130 + "com/",
        "https://[::1/",
        "https://[example.com]/",
        "https://[v1.example]/",
        "https://[2606:4700:4700::1111%25eth0]/",
        "https://256.256.256.256/",
        "https://1.2.3.4.5/",
        "https://134744072/",
        "https://010.8.8.8/",
        "https://8.8.8.8./",
        "https://example.com/" + "a" * 8192,
    ],
    "url_credentials": [
        "https://user:password@example.com/",
        "https://user@example.com/",
        "https://@example.com/",
        "https://example.com@127.0.0.1/",
        "https://a@b@example.com/",
    ],
    "private_address": [
        "http://localhost/",
        "http://LOCALHOST:8080/a.jpg",
        "http://localhost./",
        "http://images.localhost/",
        "http://ｌｏｃａｌｈｏｓｔ/",
        "http://%6cocalhost/",
        "http://printer.local/",
        "http://metadata.google.internal/",
        "http://169.254.169.254/latest/meta-data/",
        *(
            f"http://{f'[{host}]' if ':' in host and '[' not in host else host}/a.jpg"
            for host in LITERALS
        ),
        *(
            f"https://{f'[{address}]' if ':' in address else address}:8443/"
            for address in NOT_PUBLIC[:-2]
        ),
    ],
}


@pytest.mark.parametrize(
    ("reason", "url"),
    [(reason, url) for reason, urls in PROBLEMS.items() for url in urls],
    ids=lambda text: ascii(text)[:60],
)
def test_a_url_that_must_not_be_sent_has_its_reason(reason: str, url: str) -> None:
    """G9, G11, G18."""
    assert url_problem(url) == reason


@given(st.text(max_size=60).map(lambda text: "http://" + text) | st.text(max_size=60))
def test_no_text_makes_the_check_fail(url: str) -> None:
    assert url_problem(url) in {None, *PROBLEMS}


def test_the_urls_of_a_real_table_pass(real_data: Callable[[str], Path]) -> None:
    urls = pq.read_table(real_data("laion-1000.parquet"), columns=["URL"])[
        "URL"
    ].to_pylist()
    refused = [url for url in urls if url_problem(url)]
    assert len(urls) == 1000
    assert all(" " in url for url in refused)
    assert len(refused) == 1


def test_the_system_knows_this_machine() -> None:
    assert "127.0.0.1" in look_up("localhost") or "::1" in look_up("localhost")


def test_a_look_up_that_fails_raises_what_it_met() -> None:
    def fails(host: str) -> list[str]:
        raise OSError(f"no {host}")

    with pytest.raises(OSError, match=r"^no example\.com$"):
        look_up_within(5, "example.com", fails)
