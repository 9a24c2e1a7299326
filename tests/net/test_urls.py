"""URLs: what may be displayed, where a credential may be sent, where a redirect may lead."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.errors import Fault, SourceError
from modelfetch.net.credentials import Credential, split_credential
from modelfetch.net.urls import host_of, is_public, origin, quote_path, redirect_target

CANARY = "s3cr3t-canary"

# What may be displayed


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://h.example/a", "h.example"),
        ("https://h.example:443/a", "h.example"),
        ("http://h.example:443/a", "h.example:443"),
        ("http://h.example:80/", "h.example"),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
        ("https://[2001:db8::1]/", "[2001:db8::1]"),
        ("http://[::1]:8080/", "[::1]:8080"),
        (f"https://user:{CANARY}@H.Example/a", "h.example"),
    ],
)
def test_host_of(url: str, host: str) -> None:
    assert host_of(url) == host


# Credentials: URLs that are not of the same origin

HOME = "https://huggingface.co"


@pytest.mark.parametrize(
    "url",
    [
        "https://huggingface.co/x",
        "https://huggingface.co:443/x?y=1",
        "https://HuggingFace.CO/x",
        "HTTPS://huggingface.co/x",
        "https://huggingface.co",
    ],
)
def test_a_credential_goes_to_its_own_origin(url: str) -> None:
    assert Credential.bearer(HOME, CANARY).header_for(url) == {"Authorization": f"Bearer {CANARY}"}


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    "url",
    [
        "https://huggingface.co:8443/x",
        "https://huggingface.co:0/x",
        "https://huggingface.co:80/x",
        "http://huggingface.co/x",
        "http://huggingface.co:443/x",
        "https://cdn.huggingface.co/x",
        "https://hf.co/x",
        "https://huggingface.co.evil.example/x",
        "https://huggingface.coevil.example/x",
        "https://evil-huggingface.co/x",
        "https://huggingface.co@evil.example/x",
        "https://huggingface.co:443@evil.example/x",
        "https://user:huggingface.co@evil.example/x",
        "https://huggingface.co%40evil.example/x",
        "https://huggingface.co\\@evil.example/x",
        "https://huggingface.co./x",
        "https://huggingface\u3002co/x",
        "https://huggingface\uff0eco/x",
        "https://hugging%66ace.co/x",
        "https://xn--huggingface.co/x",
        "https://evil.example/huggingface.co",
        "https://evil.example?huggingface.co",
        "https://evil.example#huggingface.co",
        "https:/huggingface.co/x",
        "//huggingface.co/x",
        "wss://huggingface.co/x",
        "https://127.0.0.1/x",
        "",
    ],
)
def test_a_credential_goes_nowhere_else(url: str) -> None:
    assert Credential.bearer(HOME, CANARY).header_for(url) == {}


def test_a_credential_for_an_unusual_port_stays_there() -> None:
    credential = Credential.bearer("http://127.0.0.1:8080/hub", CANARY)
    assert credential.header_for("http://127.0.0.1:8080/other")
    assert not credential.header_for("http://127.0.0.1/other")
    assert not credential.header_for("http://localhost:8080/other")


def test_a_credential_is_never_shown() -> None:
    assert CANARY not in repr(Credential.bearer(HOME, CANARY))


@pytest.mark.parametrize(
    ("url", "bare", "userpass"),
    [
        ("https://user:pass@h.example/a?b", "https://h.example/a?b", b"user:pass"),
        ("https://user:p%40ss%3A%2F@h.example/", "https://h.example/", b"user:p@ss:/"),
        ("https://user:a:b@h.example/", "https://h.example/", b"user:a:b"),
        ("https://u@ser:pass@h.example/", "https://h.example/", b"u@ser:pass"),
        ("https://token@h.example/", "https://h.example/", b"token:"),
        ("https://:pass@h.example/", "https://h.example/", b":pass"),
        ("http://user:pass@[::1]:8080/", "http://[::1]:8080/", b"user:pass"),
    ],
)
def test_split_credential(url: str, bare: str, userpass: bytes) -> None:
    expected = Credential(origin(bare), f"Basic {base64.b64encode(userpass).decode()}")
    assert split_credential(url) == (bare, expected)


def test_a_url_without_credential_stays_as_it_is() -> None:
    url = "https://h.example/a%20b/{x}?y=@z#f"
    assert split_credential(url) == (url, None)


# Redirects

HERE = "https://h.example/a/b?q=1"


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://cdn.example/x?sig=1", "https://cdn.example/x?sig=1"),
        ("/x", "https://h.example/x"),
        ("x", "https://h.example/a/x"),
        ("./x", "https://h.example/a/x"),
        ("../x", "https://h.example/x"),
        ("../../../x", "https://h.example/x"),
        ("?q=2", "https://h.example/a/b?q=2"),
        ("//cdn.example/x", "https://cdn.example/x"),
        ("https://h.example:8443/x", "https://h.example:8443/x"),
        ("https://h.example/x#fragment", "https://h.example/x"),
        ("https://h.example/%0d%0aSet-Cookie:x", "https://h.example/%0d%0aSet-Cookie:x"),
        ("HTTPS://CDN.example/x", "https://CDN.example/x"),
        ("https://[2001:db8::1]/x", "https://[2001:db8::1]/x"),
        # The same scheme without a host is relative (RFC 3986, 5.2.2), so it never leaves the origin.
        ("https:///x", "https://h.example/x"),
        ("https:\\\\evil.example", "https://h.example/a/\\\\evil.example"),
        ("/\\evil.example", "https://h.example/\\evil.example"),
        # Characters are encoded as browsers do (WHATWG URL); encoded ones stay as they are.
        ("/x y?a=1 2", "https://h.example/x%20y?a=1%202"),
        (" /x ", "https://h.example/x"),
        ("/模型?名=%41", "https://h.example/%E6%A8%A1%E5%9E%8B?%E5%90%8D=%41"),
        ('/"<`{|}>', "https://h.example/%22%3C%60%7B|%7D%3E"),
        ("/x\x9b\u202e", "https://h.example/x%C2%9B%E2%80%AE"),
        ("https://bücher.example:8443/é", "https://xn--bcher-kva.example:8443/%C3%A9"),
        ("https://h.ex\u3002ample/x", "https://h.ex.ample/x"),
    ],
)
def test_a_redirect_is_resolved(location: str, target: str) -> None:
    assert redirect_target(HERE, location.encode()) == target


def test_bytes_that_are_no_text_are_encoded_one_by_one() -> None:
    assert redirect_target(HERE, b"/\xff\xe9") == "https://h.example/%FF%E9"


def test_a_step_up_to_https_is_fine() -> None:
    assert redirect_target("http://h.example/a", b"https://h.example/a") == "https://h.example/a"


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "http://h.example/x",
        "http://h.example:443/x",
        "HTTP://h.example/x",
        "ftp://h.example/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/plain,x",
        "gopher://h.example/",
        "https://:443/x",
        "http:///x",
        "https://user@evil.example/x",
        "https://user:pass@evil.example/x",
        "https://h.example\\@evil.example/x",
        "https://@evil.example/x",
        "https://h.example:port/x",
        "https://h.example:99999/x",
        "https://h.example:-1/x",
        "https://[::1/x",
        "https://[zz]/x",
        "  ",
        "/x\ty",
        "/x\r\nX-Evil: 1",
        "/x\x00",
        "/x\x1b[2J",
        "/x\x7f",
        "https://h.ex ample/x",
        "https://h.ex\u202eample/x",
        "https://h.example\uff0f.evil.example/x",
        "https://user@bücher.example/x",
        f"https://{'é' * 70}.example/x",
    ],
)
def test_a_redirect_that_must_not_be_followed(location: str | None) -> None:
    with pytest.raises(SourceError) as caught:
        redirect_target(HERE, None if location is None else location.encode())
    assert caught.value.fault is Fault.REDIRECT
    assert not caught.value.retry
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "location",
    [
        f"http://h.example/x?token={CANARY}",
        f"ftp://user:{CANARY}@h.example/x",
        f"https://user:{CANARY}@h.example/x",
        f"https://h.example:port/x?{CANARY}",
        f"https://[::1/?{CANARY}",
    ],
)
def test_a_refused_redirect_shows_no_secret(location: str) -> None:
    with pytest.raises(SourceError) as caught:
        redirect_target(HERE, location.encode())
    assert CANARY not in str(caught.value)


URLISH = st.lists(
    st.sampled_from(
        [
            *(
                "http:",
                "https:",
                "ftp:",
                "//",
                "/",
                "\\",
                "@",
                ":",
                "?",
                "#",
                "[",
                "]",
                "::1",
                "%",
                "..",
                ".",
            ),
            *("user", "h.example", "127.0.0.1", "0", "80", "99999", "x", ";", "\x1b", "é", " ", "\u3002"),
        ]
    ),
    max_size=8,
).map("".join)


@given(URLISH)
def test_whatever_the_location_the_target_is_safe_or_refused(location: str) -> None:
    try:
        target = redirect_target(HERE, location.encode())
    except SourceError as error:
        assert error.fault is Fault.REDIRECT  # noqa: PT017
        return
    scheme, host, _ = origin(target)
    assert scheme == "https"
    assert host
    assert "@" not in urlsplit(target).netloc
    assert target.isascii()


# Addresses


@pytest.mark.quick(every=5)
@pytest.mark.parametrize(
    "address",
    [
        # loopback, "this network", and forms only a resolver understands
        *("127.0.0.1", "127.0.0.2", "127.255.255.255", "0.0.0.0", "0.1.2.3"),
        *("0", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.1", "017700000001", "127.0.0.1."),
        *("localhost", "localhost.", "", "garbage", "1.2.3.4.5", "256.1.1.1", "08.8.8.8"),
        # private, shared, link-local, metadata services
        *("10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"),
        *("100.64.0.1", "100.100.100.200", "100.127.255.255"),
        *("169.254.0.1", "169.254.169.254", "169.254.170.2", "192.0.0.192", "192.0.0.8"),
        # documentation, benchmarks, relays, multicast, reserved, broadcast
        *("192.0.2.1", "198.51.100.7", "203.0.113.9", "198.18.0.1", "198.19.255.255", "192.88.99.1"),
        *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        # IPv6
        *("::", "::1", "::2", "::127.0.0.1", "::8.8.8.8", "::7f00:1"),
        *("::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:0"),
        *("0:0:0:0:0:ffff:7f00:1", "::FFFF:127.0.0.1", "::1%lo", "fe80::1", "fe80::1%eth0", "febf::1"),
        *("fec0::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fdff:ffff::1", "ff02::1", "ff0e::1"),
        *("64:ff9b::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1", "64:ff9b:1::808:808"),
        *("2002:7f00:1::", "2002:a9fe:a9fe::", "2002:0808:0808::", "2001::1", "2001:0:4136:e378::1"),
        *("2001:db8::1", "2001:10::1", "2001:20::1", "3fff::1", "5f00::1", "100::1"),
    ],
)
def test_addresses_that_are_not_the_public_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.quick(every=5)
@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
        *("126.255.255.255", "128.0.0.1", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"),
        *("192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255"),
        *("::ffff:8.8.8.8", "::ffff:808:808", "2606:4700:4700::1111", "2a00:1450:4001::1", "2001:4860::8888"),
        *("2003::1", "2001:200::1", "2400::1", "64:ff9b::808:808", "64:ff9b::8.8.8.8"),
    ],
)
def test_addresses_of_the_public_internet(address: str) -> None:
    """The addresses next to each private block; NAT64 (RFC 6052) is how IPv6-only networks reach IPv4."""
    assert is_public(address)


# Paths


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("onnx/model.onnx", "onnx/model.onnx"),
        ("a b", "a%20b"),
        ("a#b?c", "a%23b%3Fc"),
        ("%2e%2e%2f", "%252e%252e%252f"),
        ("a%2fb", "a%252fb"),
        ("a;b&c=d", "a%3Bb%26c%3Dd"),
        ("a+b", "a%2Bb"),
        ("user@host:1", "user%40host%3A1"),
        ("a\\b", "a%5Cb"),
        ("{sha256}", "%7Bsha256%7D"),
        ("grüße/模型", "gr%C3%BC%C3%9Fe/%E6%A8%A1%E5%9E%8B"),
        ("~-._", "~-._"),
        ("\x1b", "%1B"),
    ],
)
def test_quote_path(path: str, quoted: str) -> None:
    assert quote_path(path) == quoted
