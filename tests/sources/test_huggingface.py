"""Hugging Face: URLs at the pinned commit, and a token that is sent to the endpoint only."""

from __future__ import annotations

from typing import Any

import pytest

from modelfetch.errors import Fault, SourceError
from modelfetch.model.manifest import HuggingFaceRepo
from modelfetch.net.client import Client
from modelfetch.sources.base import HttpOffer
from modelfetch.sources.huggingface import HuggingFaceSource, resolve_url
from tests.origin import Origin, faults
from tests.sources.samples import DATA, REVISION, manifest, read, spec

REPO = HuggingFaceRepo("org/repo", REVISION)
TOKEN = "hf_canary"


@pytest.mark.parametrize(
    ("repo", "facts", "address"),
    [
        (REPO, {}, f"org/repo/resolve/{REVISION}/onnx/model.onnx"),
        (HuggingFaceRepo("gpt2", REVISION), {}, f"gpt2/resolve/{REVISION}/onnx/model.onnx"),
        (
            HuggingFaceRepo("org/repo", REVISION, "dataset"),
            {},
            f"datasets/org/repo/resolve/{REVISION}/onnx/model.onnx",
        ),
        (
            HuggingFaceRepo("org/repo", REVISION, "space"),
            {},
            f"spaces/org/repo/resolve/{REVISION}/onnx/model.onnx",
        ),
        (REPO, {"huggingface_path": "else/where.bin"}, f"org/repo/resolve/{REVISION}/else/where.bin"),
        (REPO, {"path": "a b#c?d%2e.bin"}, f"org/repo/resolve/{REVISION}/a%20b%23c%3Fd%252e.bin"),
        (REPO, {"path": "模型.bin"}, f"org/repo/resolve/{REVISION}/%E6%A8%A1%E5%9E%8B.bin"),
        (REPO, {"huggingface_path": "%2e%2e%2fx"}, f"org/repo/resolve/{REVISION}/%252e%252e%252fx"),
    ],
)
def test_the_address_of_a_file(repo: HuggingFaceRepo, facts: dict[str, Any], address: str) -> None:
    assert resolve_url("https://hub.example", repo, spec(**facts)) == f"https://hub.example/{address}"


def test_a_model_without_a_repository_has_no_offer(client: Client) -> None:
    file = spec()
    assert not HuggingFaceSource(client, "https://hub.example", None).offers(manifest(file), file)


@pytest.mark.parametrize("ending", ["", "/"])
def test_one_offer_at_the_endpoint(client: Client, origin: Origin, ending: str) -> None:
    file = spec()
    origin.add(file.path, DATA)
    [offer] = HuggingFaceSource(client, origin.endpoint + ending, None).offers(
        manifest(file, huggingface=REPO), file
    )
    assert (offer.kind, offer.host) == ("huggingface", f"127.0.0.1:{origin.port}")
    assert read(offer) == DATA
    assert read(offer, 100) == DATA[100:]
    assert {request.target for request in origin.requests} == {
        f"/org/repo/resolve/{REVISION}/onnx/model.onnx"
    }


def test_the_hub_is_named_for_people(client: Client) -> None:
    file = spec()
    [offer] = HuggingFaceSource(client, "https://huggingface.co", None).offers(
        manifest(file, huggingface=REPO), file
    )
    assert offer.host == "huggingface.co"


def test_nothing_is_requested_before_an_offer_is_opened(client: Client, origin: Origin) -> None:
    file = spec()
    HuggingFaceSource(client, origin.endpoint, TOKEN).offers(manifest(file, huggingface=REPO), file)
    assert origin.connections == 0


def test_the_token_goes_to_the_endpoint_and_not_along_a_redirect(client: Client, origin: Origin) -> None:
    file = spec()
    origin.add(file.path, DATA)
    origin.require_token(TOKEN)
    with Origin() as cdn:
        origin.redirect_large(to=cdn, at=1)
        [offer] = HuggingFaceSource(client, origin.endpoint, TOKEN).offers(
            manifest(file, huggingface=REPO), file
        )
        assert read(offer, 7) == DATA[7:]
        assert cdn.foreign_headers == set()
        assert len(cdn.requests) == 1
    assert [request.header("Authorization") for request in origin.requests] == [f"Bearer {TOKEN}"]


def test_without_a_token_none_is_sent(client: Client, origin: Origin) -> None:
    file = spec()
    origin.add(file.path, DATA)
    origin.require_token(TOKEN)
    [offer] = HuggingFaceSource(client, origin.endpoint, None).offers(manifest(file, huggingface=REPO), file)
    with pytest.raises(SourceError) as caught:
        offer.open(0)
    assert caught.value.fault is Fault.AUTHORIZATION
    assert origin.foreign_headers == set()


@pytest.mark.parametrize(("token", "advice"), [(None, "Set HF_TOKEN"), (TOKEN, "the token was refused")])
def test_a_refusal_says_what_the_token_has_to_do_with_it(
    client: Client, origin: Origin, token: str | None, advice: str
) -> None:
    file = spec()
    origin.fault("*", faults.status(401))
    [offer] = HuggingFaceSource(client, origin.endpoint, token).offers(manifest(file, huggingface=REPO), file)
    with pytest.raises(SourceError) as refused:
        offer.open(0)
    assert refused.value.fault is Fault.AUTHORIZATION
    assert advice in f"{refused.value} {refused.value.hint}"
    assert TOKEN not in refused.value.hint


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_any_other_server_has_nothing_to_do_with_a_token(
    client: Client, origin: Origin, status: int
) -> None:
    origin.fault("*", faults.status(status))
    offer = HttpOffer("mirror", f"{origin.endpoint}/a", 1000, client)
    with pytest.raises(SourceError) as refused:
        offer.open(0)
    assert refused.value.hint
    assert "TOKEN" not in refused.value.hint
