"""Proxy variables in the forms that people, container engines and VPNs write."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.errors import Fault, SourceError
from modelfetch.net.proxies import Proxies, Proxy, from_environment

PROXY = "http://proxy.example:3128"
CANARY = "s3cr3t-canary"


def is_proxied(url: str, no_proxy: str) -> bool:
    return Proxies({"ALL_PROXY": PROXY, "NO_PROXY": no_proxy}).proxy_for(url) is not None


# Which requests have a proxy


@pytest.mark.parametrize(
    ("environ", "url", "variable"),
    [
        ({"HTTP_PROXY": PROXY}, "http://h.example/", "HTTP_PROXY"),
        ({"http_proxy": PROXY}, "http://h.example/", "http_proxy"),
        ({"HTTPS_PROXY": PROXY}, "https://h.example/", "HTTPS_PROXY"),
        ({"HTTPS_PROXY": PROXY}, "http://h.example/", None),
        ({"HTTP_PROXY": PROXY}, "https://h.example/", None),
        ({"all_proxy": PROXY}, "https://h.example/", "all_proxy"),
        ({"ALL_PROXY": PROXY, "https_proxy": PROXY}, "https://h.example/", "https_proxy"),
        ({"HTTPS_PROXY": "http://other", "https_proxy": PROXY}, "https://h.example/", "https_proxy"),
        ({"HTTPS_PROXY": PROXY, "https_proxy": ""}, "https://h.example/", None),
        ({"https_proxy": " ", "all_proxy": PROXY}, "https://h.example/", "all_proxy"),
        ({"https_proxy": "proxy.example:3128"}, "https://h.example/", "https_proxy"),
        ({}, "https://h.example/", None),
        # A web server passes the header "Proxy" of a request to its programs as HTTP_PROXY.
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, "http://h.example/", None),
        ({"http_proxy": PROXY, "REQUEST_METHOD": "GET"}, "http://h.example/", "http_proxy"),
        ({"HTTPS_PROXY": PROXY, "REQUEST_METHOD": "GET"}, "https://h.example/", "HTTPS_PROXY"),
    ],
)
def test_which_variable_counts(environ: dict[str, str], url: str, variable: str | None) -> None:
    found = Proxies(environ).proxy_for(url)
    assert (found.variable if found else None) == variable
    assert found is None or found.url.endswith("proxy.example:3128")


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST", "localhost.", "x.localhost", "bafy.ipfs.localhost"),
        *("127.0.0.1", "127.8.9.10", "127.1", "2130706433", "0x7f.1", "0.0.0.0"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]"),
    ],
)
def test_this_machine_is_never_reached_by_proxy(host: str) -> None:
    assert not is_proxied(f"http://{host}:8080/x", "")


# NO_PROXY


@pytest.mark.parametrize(
    ("entry", "covered", "others"),
    [
        (
            "h.example",
            ["http://h.example/", "http://H.Example:99/", "http://a.b.h.example/", "http://h.example./"],
            ["http://xh.example/", "http://example/"],
        ),
        (".h.example", ["http://h.example/", "http://a.h.example/"], ["http://xh.example/"]),
        ("*.h.example", ["http://h.example/", "http://a.h.example/"], ["http://xh.example/"]),
        ("H.Example.", ["http://h.example/"], []),
        ("h.example:8080", ["http://h.example:8080/", "http://a.h.example:8080/"], ["http://h.example/"]),
        ("h.example:443", ["https://h.example/"], ["http://h.example/"]),
        ("https://h.example", ["https://h.example/"], ["http://h.example/"]),
        ("10.1.2.3", ["http://10.1.2.3/", "http://[::ffff:10.1.2.3]/"], ["http://10.1.2.4/"]),
        ("10.1.2.3:80", ["http://10.1.2.3/"], ["http://10.1.2.3:81/"]),
        ("10.0.0.0/8", ["http://10.255.0.1/", "http://10.1/"], ["http://11.0.0.1/", "http://10.example/"]),
        ("10.1.2.3/8", ["http://10.255.0.1/"], ["http://11.0.0.1/"]),
        ("fd07:b51a:cc66:f0::/64", ["http://[fd07:b51a:cc66:f0::1]/"], ["http://[fd07:b51a:cc66:f1::1]/"]),
        ("[fd07::]/16", ["http://[fd07::1]/"], ["http://[fd08::1]/"]),
        ("2001:db8::5", ["http://[2001:db8::5]/"], ["http://[2001:db8::6]/"]),
        ("[2001:db8::5]", ["http://[2001:db8:0::5]/"], ["http://[2001:db8::6]/"]),
        ("[2001:db8::5]:8080", ["http://[2001:db8::5]:8080/"], ["http://[2001:db8::5]/"]),
        ("::ffff:10.0.0.0/104", ["http://10.3.2.1/"], ["http://11.3.2.1/"]),
        ("*", ["http://h.example/", "https://[2001:db8::5]:1/"], []),
    ],
)
def test_an_entry_covers(entry: str, covered: list[str], others: list[str]) -> None:
    assert [url for url in covered if is_proxied(url, entry)] == []
    assert [url for url in others if not is_proxied(url, entry)] == []


@pytest.mark.parametrize(
    "text", ["a.example,h.example", "a.example, h.example", " a.example h.example ", ",,h.example,"]
)
def test_entries_stand_between_commas_or_spaces(text: str) -> None:
    assert not is_proxied("http://h.example/", text)


@pytest.mark.parametrize(
    "entry",
    [
        "[::1",
        "::1]",
        "h.example:port",
        "1.2.3.4/33",
        "a*b",
        "*h.example",
        "h_.éxample",
        "10.*",
        "http://",
        ":",
        "[]",
        "/8",
    ],
)
def test_what_is_not_understood_is_passed_over(entry: str) -> None:
    assert is_proxied("http://h.example/", entry)
    assert not is_proxied("http://h.example/", f"{entry},h.example")


@given(st.text(st.sampled_from("h.example:0123456789/[]*,-% \t\x1bé"), max_size=30), st.text(max_size=20))
def test_no_text_is_an_error(no_proxy: str, proxy: str) -> None:
    with suppress(SourceError):  # no other exception is allowed
        Proxies({"ALL_PROXY": proxy, "NO_PROXY": no_proxy}).proxy_for("https://h.example/")


# Proxies that cannot be used


@pytest.mark.parametrize(
    "value",
    [
        "socks://h:1",
        "socks5://h:1",
        "socks5h://h:1",
        "foo://h:1",
        "http://[::1",
        "http://h:port",
        "http://",
        "h:0",
        "http://h:99999",
    ],
)
def test_a_proxy_that_cannot_be_used_fails_who_needs_it_and_names_the_variable(value: str) -> None:
    secret = value.replace("//", f"//user:{CANARY}@")
    environ = Proxies({"http_proxy": PROXY, "all_proxy": secret, "NO_PROXY": "exempt.example"})
    with pytest.raises(SourceError) as caught:
        environ.proxy_for("https://h.example/")
    assert caught.value.fault is Fault.PROXY
    assert not caught.value.retry
    assert "all_proxy" in caught.value.message
    assert CANARY not in caught.value.message + caught.value.hint
    assert environ.proxy_for("http://h.example/"), "a better one is set for these"
    assert environ.proxy_for("https://exempt.example/") is None
    assert environ.proxy_for("https://127.0.0.1/") is None


# The environment of the process


def test_the_environment_is_read_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    assert not from_environment().is_proxied("https://h.example/")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://h:1")
    assert from_environment().is_proxied("https://h.example/")
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    assert from_environment().proxy_for("https://h.example/") == Proxy(PROXY, "HTTPS_PROXY")
    monkeypatch.setenv("no_proxy", "h.example")
    assert from_environment().proxy_for("https://h.example/") is None


def test_a_proxy_shows_no_password() -> None:
    assert CANARY not in repr(Proxy(f"http://u:{CANARY}@h", "x"))
