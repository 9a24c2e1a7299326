"""Secrets are masked by their value, in every form in which text can hold them."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest

from modelfetch.settings.secret_values import KnownSecrets
from tests.patience import IN_TIME

TOKEN = "canary+token/of=the user"
PASSWORD = "canary:pass@word"
PROXY = "canary-proxy-password"
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "percent-encoded": lambda text: quote(text, safe=""),
    "in lower case": lambda text: quote(text, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "as in a path": quote,
    "as in a form": lambda text: quote(text, safe="").replace("%20", "+"),
    "encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
    "every byte encoded": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for addresses": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
}
PLACES = {
    "path": "https://cdn.example/a/{}/b.bin",
    "query": "https://cdn.example/a?sig={}&x=1",
    "fragment": "https://cdn.example/a#{}",
    "user": "https://{}@cdn.example/a",
    "relative": "/a/{}/b",
    "entity tag": '"{}"',
    "sentence": "refused {} there",
    "list": "a,{};b",
}


@pytest.fixture
def known() -> KnownSecrets:
    environ = {
        "HF_TOKEN": TOKEN,
        "HTTPS_PROXY": f"http://me:{PROXY}@proxy.example:3128",
        "HOME": "/home/ann",
        "LANG": "C.UTF-8",
    }
    return KnownSecrets(environ)


@pytest.mark.quick(every=5)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", PLACES)
def test_a_secret_is_masked_wherever_it_is(known: KnownSecrets, place: str, form: str) -> None:
    encoded = FORMS[form](TOKEN)
    masked = known.mask(PLACES[place].format(encoded))
    assert "***" in masked
    assert not [part for part in (TOKEN, encoded, "canary") if part in masked]


@pytest.mark.parametrize(
    "sent",
    [
        f"Basic {base64.b64encode(f'user:{PASSWORD}'.encode()).decode()}",
        f"user:{PASSWORD}",
        f"Bearer {PASSWORD}",
        PASSWORD,
    ],
)
def test_what_is_sent_is_secret_from_then_on(known: KnownSecrets, sent: str) -> None:
    known.add(sent)
    encoded = [form(PASSWORD) for form in FORMS.values()]
    assert "canary" not in known.mask(" ".join(encoded))
    assert not [form for form in encoded if form in known.mask(" ".join(encoded))]
    assert sent not in known.mask(f"authorization: {sent}")


def test_the_password_of_a_proxy_is_secret(known: KnownSecrets) -> None:
    assert known.mask(f"echo {PROXY} me:{PROXY}") == "echo *** ***"


def test_ordinary_text_is_kept(known: KnownSecrets) -> None:
    line = "#1 GET https://cdn.example/a%20b/c.bin -> 206 bytes 0-99/100, 100 B in 0.010 s (mirror)"
    assert known.mask(line) == line
    assert known.mask("settings: read /home/ann/.config/x") == "settings: read ~/.config/x"


def test_a_short_value_is_no_secret(known: KnownSecrets) -> None:
    known.add("Bearer abc")
    known.add("")
    assert known.mask("abc Bearer-less") == "abc Bearer-less"


def test_the_result_is_one_plain_line(known: KnownSecrets) -> None:
    known.add("se\ncret-value")
    hostile = "a\x1b[31m\r\nb\u202ec\x00::set-env x##[error]"
    masked = known.mask(f"{hostile} %0a%1b[0m")
    assert masked.isascii()
    assert masked.isprintable()
    assert "##[" not in masked


def test_a_basic_credential_that_is_not_one_is_masked_as_a_whole(known: KnownSecrets) -> None:
    known.add("Basic not*base64*at*all")
    assert known.mask("not*base64*at*all") == "***"


@pytest.mark.quick(1)
@pytest.mark.parametrize("part", ["a-", "a.", "token-", "%41"])
def test_long_text_takes_no_long_time(known: KnownSecrets, part: str) -> None:
    began = time.monotonic()
    known.mask(part * 16_000)
    assert time.monotonic() - began < IN_TIME
