"""Mirrors: safe expansion of templates, and credentials that are sent to their mirror only."""

from __future__ import annotations

import base64

import pytest

from modelfetch.errors import SourceError
from modelfetch.net.client import Client
from modelfetch.sources.mirror import MirrorSource, expand
from tests.origin import Origin
from tests.sources.samples import DATA, SHA256, manifest, read, spec

CANARY = "s3cr3t-canary"


@pytest.mark.parametrize(
    ("template", "path", "url"),
    [
        ("https://h/{name}/{version}/{path}", "a/b.bin", "https://h/m/1/a/b.bin"),
        ("https://h/{sha256}", "a/b.bin", f"https://h/{SHA256}"),
        ("https://h/{path}?v={version}&v={version}", "a", "https://h/a?v=1&v=1"),
        ("https://h/{path}", "a b#c?d&e=%2e;f", "https://h/a%20b%23c%3Fd%26e%3D%252e%3Bf"),
        ("https://h/{path}", "%2e%2e%2fx", "https://h/%252e%252e%252fx"),
        ("https://h/{path}", "{sha256}/{name}", "https://h/%7Bsha256%7D/%7Bname%7D"),
        ("https://h/{path}", "grüße", "https://h/gr%C3%BC%C3%9Fe"),
        ("https://h/{path}", "a@b:c", "https://h/a%40b%3Ac"),
    ],
)
def test_a_template_is_filled_in(template: str, path: str, url: str) -> None:
    file = spec(path)
    assert expand(template, manifest(file), file) == url


def test_a_version_cannot_change_the_shape_of_the_url() -> None:
    file = spec()
    odd = manifest(file)
    odd = type(odd)("m", "1?x#y@z", (file,))
    assert expand("https://h/{version}/{path}", odd, file) == "https://h/1%3Fx%23y%40z/onnx/model.onnx"


def test_configured_mirrors_come_before_those_of_the_manifest(client: Client) -> None:
    file = spec()
    source = MirrorSource(client, ["https://first.example/{path}", "https://second.example:8443/{path}"])
    offers = source.offers(manifest(file, mirrors=("https://third.example/{path}",)), file)
    assert [(offer.kind, offer.host) for offer in offers] == [
        ("mirror", "first.example"),
        ("mirror", "second.example:8443"),
        ("mirror", "third.example"),
    ]


def test_no_template_no_offer(client: Client) -> None:
    file = spec()
    assert not MirrorSource(client, []).offers(manifest(file), file)


def test_a_mirror_delivers_from_any_offset(client: Client, origin: Origin) -> None:
    file = spec()
    origin.add(file.path, DATA)
    [by_path, by_digest] = MirrorSource(client, [origin.mirror, origin.blobs]).offers(manifest(file), file)
    assert read(by_path) == DATA
    assert read(by_digest, 100) == DATA[100:]
    assert [request.target for request in origin.requests] == [
        "/mirror/m/1/onnx/model.onnx",
        f"/blobs/{SHA256}",
    ]


def test_credentials_stay_at_their_mirror(client: Client, origin: Origin) -> None:
    file = spec()
    origin.add(file.path, DATA)
    with Origin() as other:
        other.add(file.path, DATA)
        secret = origin.mirror.replace("//", f"//user:p%40ss-{CANARY}@")
        offers = MirrorSource(client, [secret, other.mirror]).offers(manifest(file), file)
        assert [read(offer) for offer in offers] == [DATA, DATA]
        assert other.foreign_headers == set()
    expected = base64.b64encode(f"user:p@ss-{CANARY}".encode()).decode()
    assert origin.requests[0].header("Authorization") == f"Basic {expected}"


def test_credentials_are_not_shown(client: Client, origin: Origin) -> None:
    file = spec()
    secret = origin.mirror.replace("//", f"//user:{CANARY}@") + f"?key={CANARY}"
    [offer] = MirrorSource(client, [secret]).offers(manifest(file), file)
    with pytest.raises(SourceError) as caught:
        offer.open(0)
    assert CANARY not in f"{offer.host} {caught.value!r} {caught.value.hint}"
