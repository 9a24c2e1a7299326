"""The table of upstreams: settings decide about endpoints and tokens, and offline means no request."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfetch.errors import OfflineError
from modelfetch.model.reference import RepoReference
from modelfetch.net.hub_client import HubClient
from modelfetch.settings import load
from modelfetch.upstreams.access import Access
from modelfetch.upstreams.registry import open_upstream
from tests.hubs.huggingface import HuggingFaceHub
from tests.hubs.modelscope import ModelScopeSite

HF, MS = RepoReference("hf", "org/repo"), RepoReference("ms", "org/repo")


def access(requests: HubClient, home: Path, **variables: str) -> Access:
    environ = {"HOME": str(home), **variables}
    return Access(requests, load(flags={}, environ=environ, cwd=home), environ)


def test_endpoint_and_token_of_a_hub_come_from_the_settings(
    requests: HubClient, hub: HuggingFaceHub, site: ModelScopeSite, tmp_path: Path
) -> None:
    hub.add("org/repo", {"a": b"1"})
    site.add("org/repo", {"a": b"1"})
    given = access(
        requests,
        tmp_path,
        HF_ENDPOINT=hub.endpoint,
        HF_TOKEN="hf",
        MODELSCOPE_ENDPOINT=site.endpoint,
        MODELSCOPE_API_TOKEN="ms",
    )
    for reference in (HF, MS):
        assert len(open_upstream(reference, given).resolve(reference).files) == 1
    assert {request.token for request in hub.requests} == {"hf"}
    assert {request.token for request in site.requests} == {"ms"}


def test_a_project_cannot_send_a_token_to_a_server_of_its_choice(
    requests: HubClient, hub: HuggingFaceHub, site: ModelScopeSite, tmp_path: Path
) -> None:
    hub.add("org/repo", {"a": b"1"})
    site.add("org/repo", {"a": b"1"})
    (tmp_path / "modelfetch.toml").write_text(
        f'[huggingface]\nendpoint = "{hub.endpoint}"\n[modelscope]\nendpoint = "{site.endpoint}"\n'
    )
    given = access(requests, tmp_path, HF_TOKEN="hf", MODELSCOPE_API_TOKEN="ms")
    for reference in (HF, MS):
        open_upstream(reference, given).resolve(reference)
    assert {request.token for request in (*hub.requests, *site.requests)} == {""}


@pytest.mark.parametrize("variable", ["MODELFETCH_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_there_is_no_request(
    requests: HubClient, hub: HuggingFaceHub, tmp_path: Path, variable: str
) -> None:
    given = access(requests, tmp_path, **{variable: "1", "HF_ENDPOINT": hub.endpoint})
    with pytest.raises(OfflineError, match="cannot resolve 'hf:org/repo'"):
        open_upstream(HF, given)
    assert not hub.requests
