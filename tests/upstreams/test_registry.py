"""The table of upstreams: settings decide about endpoints and tokens, and offline means no request."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfetch.errors import OfflineError
from modelfetch.model.reference import RepoReference, UrlReference
from modelfetch.net.hub_client import HubClient
from modelfetch.settings import load
from modelfetch.upstreams.access import Access
from modelfetch.upstreams.registry import open_upstream
from tests.hubs.huggingface import HuggingFaceHub
from tests.hubs.modelscope import ModelScopeSite

HF, MS = RepoReference("hf", "org/repo"), RepoReference("ms", "org/repo")


def access(hub: HubClient, home: Path, **variables: str) -> Access:
    environ = {"HOME": str(home), **variables}
    return Access(hub, load(flags={}, environ=environ, cwd=home), environ)


def test_endpoint_and_token_of_a_hub_come_from_the_settings(
    hub: HubClient, hf: HuggingFaceHub, site: ModelScopeSite, tmp_path: Path
) -> None:
    hf.add("org/repo", {"a": b"1"})
    site.add("org/repo", {"a": b"1"})
    given = access(
        hub,
        tmp_path,
        HF_ENDPOINT=hf.endpoint,
        HF_TOKEN="hf",
        MODELSCOPE_ENDPOINT=site.endpoint,
        MODELSCOPE_API_TOKEN="ms",
    )
    for reference in (HF, MS):
        assert len(open_upstream(reference, given).resolve(reference).files) == 1
    assert {request.token for request in hf.requests} == {"hf"}
    assert {request.token for request in site.requests} == {"ms"}


def test_a_project_cannot_send_a_token_to_a_server_of_its_choice(
    hub: HubClient, hf: HuggingFaceHub, site: ModelScopeSite, tmp_path: Path
) -> None:
    hf.add("org/repo", {"a": b"1"})
    site.add("org/repo", {"a": b"1"})
    (tmp_path / "modelfetch.toml").write_text(
        f'[huggingface]\nendpoint = "{hf.endpoint}"\n[modelscope]\nendpoint = "{site.endpoint}"\n'
    )
    given = access(hub, tmp_path, HF_TOKEN="hf", MODELSCOPE_API_TOKEN="ms")
    for reference in (HF, MS):
        open_upstream(reference, given).resolve(reference)
    assert {request.token for request in (*hf.requests, *site.requests)} == {""}


@pytest.mark.parametrize("variable", ["MODELFETCH_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_there_is_no_request(
    hub: HubClient, hf: HuggingFaceHub, tmp_path: Path, variable: str
) -> None:
    given = access(hub, tmp_path, **{variable: "1", "HF_ENDPOINT": hf.endpoint})
    with pytest.raises(OfflineError, match="cannot resolve 'hf:org/repo'"):
        open_upstream(HF, given)
    assert not hf.requests


def test_a_refusal_shows_no_secret(hub: HubClient, tmp_path: Path) -> None:
    given = access(hub, tmp_path, MODELFETCH_OFFLINE="1")
    with pytest.raises(OfflineError) as caught:
        open_upstream(UrlReference("https://user:canary@files.example/x?Signature=canary"), given)
    assert "files.example/x" in caught.value.message
    assert "canary" not in caught.value.message
