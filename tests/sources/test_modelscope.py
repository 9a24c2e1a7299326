"""ModelScope: URLs of a branch, its token, its odd ranges, and a branch that moved."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelfetch.errors import Fault, SourceError
from modelfetch.model.manifest import ModelScopeRepo
from modelfetch.net.client import Client
from modelfetch.sources.modelscope import ModelScopeSource, contents_url
from tests.hubs.modelscope import ModelScopeSite
from tests.hubs.server import Reply
from tests.sources.samples import DATA, manifest, read, spec

REPO = ModelScopeRepo("org/repo", "master")
TOKEN = "ms-canary"


@pytest.fixture
def site() -> Iterator[ModelScopeSite]:
    with ModelScopeSite() as site:
        site.add("org/repo", {"onnx/model.onnx": DATA})
        yield site


@pytest.mark.parametrize(
    ("repo", "path", "address"),
    [
        (REPO, "a/b.bin", "models/org/repo/repo?Revision=master&FilePath=a%2Fb.bin"),
        (ModelScopeRepo("o/r", "v1/x", "dataset"), "b", "datasets/o/r/repo?Revision=v1%2Fx&FilePath=b"),
        (REPO, "a b#c?d&e=f%2e", "models/org/repo/repo?Revision=master&FilePath=a%20b%23c%3Fd%26e%3Df%252e"),
    ],
)
def test_the_address_of_a_file(repo: ModelScopeRepo, path: str, address: str) -> None:
    assert contents_url("https://ms.example", repo, path) == f"https://ms.example/api/v1/{address}"


def test_a_model_without_a_repository_has_no_offer(client: Client) -> None:
    file = spec()
    assert not ModelScopeSource(client, "https://ms.example", None).offers(manifest(file), file)


@pytest.mark.parametrize("is_odd", [False, True], ids=["206", "200 with Content-Range"])
def test_the_rest_of_a_file(client: Client, site: ModelScopeSite, is_odd: bool) -> None:
    site.is_odd = is_odd
    file = spec()
    [offer] = ModelScopeSource(client, site.endpoint + "/", None).offers(
        manifest(file, modelscope=REPO), file
    )
    assert (offer.kind, offer.host) == ("modelscope", site.host)
    assert read(offer) == DATA
    assert read(offer, 100) == DATA[100:]
    assert len(site.requests) == 2


def test_an_odd_answer_with_other_values_is_not_used(client: Client, site: ModelScopeSite) -> None:
    file = spec()
    size = len(DATA)
    [offer] = ModelScopeSource(client, site.endpoint, None).offers(manifest(file, modelscope=REPO), file)
    for stated in (
        f"bytes 0-{size - 1}/{size}",
        f"bytes 100-{size - 1}/{size + 1}",
        f"bytes 100-{size - 2}/{size}",
        "100",
    ):
        site.script("/repo?", Reply(200, {"Content-Range": stated}, DATA[100:]))
        assert read(offer, 100) == DATA  # from a second request, for the whole file


def test_the_token_goes_to_the_site_and_not_along_a_redirect(client: Client, site: ModelScopeSite) -> None:
    file = spec()
    with ModelScopeSite() as cdn:
        cdn.script("/", Reply(200, {}, DATA))
        site.script("/repo?", Reply(302, {"Location": f"{cdn.endpoint}/x?Signature=y"}))
        [offer] = ModelScopeSource(client, site.endpoint, TOKEN).offers(manifest(file, modelscope=REPO), file)
        assert read(offer) == DATA
        assert [request.token for request in cdn.requests] == [""]
    assert [request.token for request in site.requests] == [TOKEN]


@pytest.mark.parametrize(("token", "advice"), [(None, "Set MODELSCOPE_API_TOKEN"), (TOKEN, "was refused")])
def test_a_refusal_names_the_token(
    client: Client, site: ModelScopeSite, token: str | None, advice: str
) -> None:
    site.script("/repo?", Reply(401))
    file = spec()
    [offer] = ModelScopeSource(client, site.endpoint, token).offers(manifest(file, modelscope=REPO), file)
    with pytest.raises(SourceError) as caught:
        offer.open(0)
    assert caught.value.fault is Fault.AUTHORIZATION
    assert advice in caught.value.hint


def test_another_size_means_that_the_branch_moved(client: Client, site: ModelScopeSite) -> None:
    site.repos["model", "org/repo"].revisions["master"]["onnx/model.onnx"] = DATA + b"more"
    file = spec()
    [offer] = ModelScopeSource(client, site.endpoint, None).offers(manifest(file, modelscope=REPO), file)
    with pytest.raises(SourceError) as caught:
        offer.open(0)
    assert caught.value.fault is Fault.SIZE
    assert "the branch has probably moved" in caught.value.message
