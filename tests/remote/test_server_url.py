"""The URL of a server and its token."""

from __future__ import annotations

import pytest

from modelfetch.cli.remote import connect
from modelfetch.errors import UnavailableError, UsageError
from modelfetch.remote import Address, find_address
from tests.origin import Origin, refusing_port

PRINTED = "http://127.0.0.1:8765/#token=Q3c9-_.~+/x=="


def test_the_line_that_serve_prints_is_sufficient() -> None:
    assert find_address(PRINTED, None, {}) == Address("http://127.0.0.1:8765", "Q3c9-_.~+/x==")


@pytest.mark.parametrize(
    ("server", "token", "environ", "expected"),
    [
        ("http://a:1", "t", {}, ("http://a:1", "t")),
        ("http://a:1/", "t", {}, ("http://a:1", "t")),
        ("https://[::1]:1/#token=t", None, {}, ("https://[::1]:1", "t")),
        ("http://a:1/#x=1&token=t", None, {}, ("http://a:1", "t")),
        ("http://a:1/#token=a%2Fb", None, {}, ("http://a:1", "a/b")),
        ("http://a:1/#token=mine", "other", {}, ("http://a:1", "other")),
        ("http://a:1/#token=mine", None, {"MODELFETCH_SERVE_TOKEN": "env"}, ("http://a:1", "mine")),
        ("http://127.0.0.1:1", None, {"MODELFETCH_SERVE_TOKEN": " env\n"}, ("http://127.0.0.1:1", "env")),
        ("http://gpu.localhost", None, {"MODELFETCH_SERVE_TOKEN": "env"}, ("http://gpu.localhost", "env")),
        ("https://a/mf/#token=t", None, {}, ("https://a/mf", "t")),
        (
            None,
            None,
            {"MODELFETCH_SERVER": "http://b:2/", "MODELFETCH_SERVE_TOKEN": "env"},
            ("http://b:2", "env"),
        ),
        (None, None, {"MODELFETCH_SERVER": "http://b:2/#token=t"}, ("http://b:2", "t")),
        ("http://a:1", "t", {"MODELFETCH_SERVER": "http://b:2"}, ("http://a:1", "t")),
        (None, "t", {}, ("http://127.0.0.1:8765", "t")),
        (
            None,
            None,
            {"MODELFETCH_SERVER": "", "MODELFETCH_SERVE_TOKEN": "t"},
            ("http://127.0.0.1:8765", "t"),
        ),
    ],
)
def test_options_take_precedence_over_the_environment(
    server: str | None, token: str | None, environ: dict[str, str], expected: tuple[str, str]
) -> None:
    address = find_address(server, token, environ)
    assert (address.base, address.token) == expected


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("127.0.0.1:8765", "must start with"),
        ("ftp://a/", "must start with"),
        ("http://", "has no host"),
        ("http://a:x/", "is not a URL"),
        ("http://me:pw-canary@a/", "user name or password"),
        ("http://a/?install=pw-canary", "has a query"),
        ("http://a b/", "percent-encoded"),
        ("http://a\x1b[2J/", "percent-encoded"),
    ],
)
def test_an_invalid_server_url_is_refused(server: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_address(f"{server}#token=token-canary", None, {})
    assert words in caught.value.message
    assert "modelfetch serve" in caught.value.hint
    assert "canary" not in caught.value.message + caught.value.hint
    assert "\x1b" not in caught.value.message


def test_without_a_token_the_hint_names_where_to_get_one() -> None:
    with pytest.raises(UsageError) as caught:
        find_address("http://a:1/#nothing=x", None, {})
    assert "requires a token" in caught.value.message
    assert "MODELFETCH_SERVE_TOKEN" in caught.value.hint


@pytest.mark.parametrize("token", ["a b", "a\r\nX-Evil: 1", "ü", "\x00"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(UsageError, match="cannot be sent") as caught:
        find_address("http://a:1", token, {})
    assert token not in caught.value.message


def test_a_token_is_not_in_the_representation() -> None:
    assert "Q3c9" not in repr(find_address(PRINTED, None, {}))


def test_without_token_and_server_the_missing_server_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELFETCH_SERVE_TOKEN", raising=False)
    with refusing_port() as port, pytest.raises(UnavailableError) as caught:
        connect(base := f"http://127.0.0.1:{port}", None)
    assert caught.value.message == f"no modelfetch server runs at {base}: connection refused"
    assert "modelfetch serve" in caught.value.hint


def test_without_a_token_for_a_running_server_the_token_is_requested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MODELFETCH_SERVE_TOKEN", raising=False)
    with Origin() as somebody, pytest.raises(UsageError, match="requires a token"):
        connect(somebody.endpoint, None)


@pytest.mark.parametrize(
    ("server", "named"),
    [
        ("http://a:1", ""),
        ("https://models.example", ""),
        ("http://a:1", "http://b:1"),
        ("http://a:1", "https://a:1"),
        ("http://127.0.0.1:1", "http://b:1"),
        ("http://127.0.0.1.example:1", ""),
    ],
)
def test_the_token_of_the_environment_is_sent_to_its_own_server_only(server: str, named: str) -> None:
    environ = {"MODELFETCH_SERVER": named, "MODELFETCH_SERVE_TOKEN": "canary-of-the-environment"}
    with pytest.raises(UsageError, match="MODELFETCH_SERVE_TOKEN is for") as caught:
        find_address(server, None, environ)
    assert "canary" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("server", "is_exposed"),
    [
        ("http://a:1", True),
        ("http://192.168.1.2:1", True),
        ("https://a:1", False),
        ("http://127.0.0.1:1", False),
        ("http://[::1]:1", False),
        ("http://localhost:1", False),
    ],
)
def test_an_unencrypted_token_is_detected(server: str, *, is_exposed: bool) -> None:
    assert find_address(server, "t", {}).is_exposed == is_exposed


@pytest.mark.parametrize("server", ["0123456789abcdef-secret", "token=0123456789abcdef-secret"])
def test_a_token_in_the_place_of_the_server_is_not_shown(server: str) -> None:
    with pytest.raises(UsageError, match="must start with https://") as caught:
        find_address(server, None, {})
    assert "secret" not in caught.value.message
