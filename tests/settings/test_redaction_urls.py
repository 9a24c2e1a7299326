"""Addresses in settings: their secrets are never shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.settings import redact, shown
from modelfetch.settings.table import BY_NAME
from modelfetch.settings.values import build

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/{path}", "https://a.example/{path}"),
        ("https://me:hunter2@a.example:8443/{path}", "https://***@a.example:8443/{path}"),
        ("https://hunter2@a.example/{path}", "https://***@a.example/{path}"),
        ("https://a.example/{path}?sig=hunter2", "https://a.example/{path}?***"),
        ("https://a.example/{path}#hunter2", "https://a.example/{path}#***"),
        ("https://a.example/{name}@{version}/{path}", "https://a.example/{name}@{version}/{path}"),
        ("https://me:hunter2/x@a.example/", "https://***@a.example/"),
        ("https://me:hunter2@[broken/", "https://***@[broken/"),
        ("me:hunter2@a.example/{path}", "***@a.example/{path}"),
        ("not an address", "not an address"),
    ],
)
def test_redact(url: str, expected: str) -> None:
    assert redact(url) == expected


@given(
    prefix=st.sampled_from(["https://", "http://", "ftp://", "https:", ""]),
    user=st.text("aB1:%.\\ \t\x00é", max_size=5),
    rest=st.text("aB1:%.\\ \t\x00é/?#@[]", max_size=20),
)
def test_no_password_survives_whatever_stands_around_it(prefix: str, user: str, rest: str) -> None:
    assert SECRET not in redact(f"{prefix}{user}:{SECRET}@a.example/{rest}")


@pytest.mark.parametrize(
    "mirror",
    [
        "https://me:hunter2@a.example/",
        "https://me:hunter2@a.example/{fil}",
        "https://me:hunter2@a.example:port/{path}",
        "ftp://me:hunter2@a.example/{path}",
        "https://me:hun ter2@a.example/{path}?hunter2",
        "me:hunter2@a.example/{path}",
    ],
)
def test_a_refused_mirror_is_named_without_its_secret(mirror: str) -> None:
    form = BY_NAME["sources.mirrors"].form
    with pytest.raises(ValueError, match=r"a\.example") as caught:
        form.validate([mirror])
    assert "hunter2" not in str(caught.value)
    assert "ter2" not in str(caught.value)


def test_a_mirror_keeps_its_credentials_but_shows_them_nowhere() -> None:
    mirror = "https://me:hunter2@a.example/{path}?key=hunter2"
    values = {name: setting.default for name, setting in BY_NAME.items()}
    values["sources.mirrors"] = BY_NAME["sources.mirrors"].form.validate([mirror])
    settings = build(values)
    assert settings.sources.mirrors == (mirror,)
    assert SECRET not in repr(settings)
    assert SECRET not in shown(settings.sources.mirrors)
    assert "a.example" in shown(settings.sources.mirrors)


def test_an_address_in_the_wrong_place_is_redacted_too() -> None:
    with pytest.raises(ValueError, match=r"\*\*\*@a\.example") as caught:
        BY_NAME["network.files"].form.validate("https://me:hunter2@a.example")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("address", ["http://gpu-box:8765/#token=hunter2", "gpu-box:8765#token=hunter2"])
def test_a_peer_that_is_the_line_of_its_server_is_told_that_it_needs_no_token(address: str) -> None:
    with pytest.raises(ValueError, match="leave out everything from #") as caught:
        BY_NAME["sources.peers"].form.validate([address])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("address", ["fd98::10", "gpu-box:99999", "gpu-box:http"])
def test_a_peer_that_is_no_address_is_told_the_form_of_one(address: str) -> None:
    with pytest.raises(ValueError, match=r"\[fd00::1\]:8765"):
        BY_NAME["sources.peers"].form.validate([address])
