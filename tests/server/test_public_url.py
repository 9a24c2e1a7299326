"""Behind a reverse proxy: the server also accepts the name of the proxy, and no other."""

from __future__ import annotations

import pytest

from modelfetch.errors import UsageError
from modelfetch.server.guard import Request, judge_caller
from modelfetch.server.listen_address import Address
from modelfetch.server.serve_options import MIN_TOKEN_LENGTH, checked_public_url, checked_token

PUBLIC = "https://models.example.org/mf"


def ask(public: str, *fields: tuple[str, str]) -> str | None:
    """Judge a request of a page; returns the code of the refusal."""
    address = Address("127.0.0.1", "127.0.0.1", 8765, public=public)
    refusal = judge_caller(Request("POST", "/v1/jobs", fields), address)
    return None if refusal is None else refusal.code


HERE = ("host", "127.0.0.1:8765")


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("public", "fields", "code"),
    [
        # As proxies pass requests on: their own name for us, the client's name for them, or both.
        (PUBLIC, [HERE, ("origin", "https://models.example.org")], None),
        (PUBLIC, [("host", "models.example.org"), ("origin", "https://models.example.org")], None),
        (PUBLIC, [("host", "MODELS.example.org:443"), ("origin", "https://models.example.org")], None),
        (PUBLIC, [HERE, ("x-forwarded-host", "models.example.org")], None),
        ("https://a.example:8443", [("host", "a.example:8443"), ("origin", "https://a.example:8443")], None),
        (PUBLIC, [HERE, ("origin", "http://127.0.0.1:8765")], None),
        ("https://[2001:db8::1]", [("host", "[2001:db8::1]"), ("origin", "https://[2001:db8::1]")], None),
        # Everybody else.
        (PUBLIC, [HERE, ("origin", "https://evil.example")], "foreign_origin"),
        (PUBLIC, [HERE, ("origin", "http://models.example.org")], "foreign_origin"),
        (PUBLIC, [HERE, ("origin", "https://models.example.org:8443")], "foreign_origin"),
        (PUBLIC, [HERE, ("origin", "https://models.example.org.evil.example")], "foreign_origin"),
        (PUBLIC, [HERE, ("origin", "https://x@models.example.org")], "foreign_origin"),
        (PUBLIC, [HERE, ("origin", "null")], "foreign_origin"),
        (PUBLIC, [HERE, ("origin", "https://models.example.org"), ("origin", "https://evil.example")],
         "foreign_origin"),
        (PUBLIC, [HERE, ("sec-fetch-site", "same-site")], "foreign_origin"),
        (PUBLIC, [("host", "evil.example")], "wrong_host"),
        (PUBLIC, [("host", "models.example.org:80")], "wrong_host"),
        (PUBLIC, [("host", "models.example.org@evil.example")], "wrong_host"),
        (PUBLIC, [HERE, ("x-forwarded-host", "evil.example")], "wrong_host"),
        ("", [("host", "models.example.org")], "wrong_host"),
        ("", [HERE, ("origin", "https://models.example.org")], "foreign_origin"),
        ("", [HERE, ("origin", "https://")], "foreign_origin"),
    ],
)  # fmt: skip
def test_the_public_url_is_accepted_too(public: str, fields: list[tuple[str, str]], code: str | None) -> None:
    assert ask(public, *fields) == code


def test_the_public_url_is_the_one_shown() -> None:
    address = Address("127.0.0.1", "127.0.0.1", 8765, public=PUBLIC)
    assert (address.shown, address.url) == (PUBLIC, "http://127.0.0.1:8765")
    assert Address("127.0.0.1", "127.0.0.1", 8765).shown == "http://127.0.0.1:8765"


@pytest.mark.parametrize("url", ["models.example.org", "ftp://a", "https://me:pw@a", "https://a/?x=1"])
def test_an_invalid_public_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--public-url") as caught:
        checked_public_url(url)
    assert "pw" not in caught.value.message


def test_a_short_token_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError, match="can be guessed") as caught:
        checked_token("s" * (MIN_TOKEN_LENGTH - 1))
    assert "sss" not in caught.value.message + caught.value.hint
    assert checked_token("s" * MIN_TOKEN_LENGTH)
