"""Whatever JSON a hub sends: a listing, or an error of ours with a line that says what to do."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelfetch.errors import ModelfetchError
from modelfetch.model.reference import RepoReference
from modelfetch.model.text import visible
from modelfetch.net.hub_client import HubClient
from modelfetch.upstreams.huggingface import HuggingFace
from modelfetch.upstreams.modelscope import ModelScope
from tests.hubs.huggingface import HuggingFaceHub
from tests.hubs.modelscope import ModelScopeSite
from tests.hubs.server import Reply

KEYS = (
    *("id", "sha", "gated", "disabled", "cardData", "tags", "license", "license_name", "pretty_name"),
    *("type", "path", "size", "oid", "lfs", "pointerSize", "branches", "name"),
    *("Code", "Success", "Message", "Data", "Files", "Path", "Type", "Size", "Sha256", "Mode"),
    *("RevisionMap", "Branches", "Tags", "Revision", "License", "Name"),
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["file", "directory", "blob", "tree", "main", "a" * 40, "b" * 64, "..", "a/b", "\x1b["]),
    st.text(max_size=10),
)
DOCUMENTS: st.SearchStrategy[Any] = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8),
    max_leaves=20,
)
FEW = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])


def resolve(upstream: HuggingFace | ModelScope, reference: RepoReference) -> None:
    failed: ModelfetchError | None = None
    try:
        upstream.resolve(reference)
    except ModelfetchError as error:
        failed = error
    assert failed is None or (failed.message == visible(failed.message) and failed.hint)


@FEW
@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_huggingface(hub: HubClient, hf: HuggingFaceHub, revision: Any, tree: Any, refs: Any) -> None:
    hf.add("org/repo", {"a": b"1"})
    upstream = HuggingFace(hub, hf.endpoint, None)
    for part, document in (("/revision/", revision), ("/tree/", tree), ("/refs", refs)):
        hf.script(part, Reply.json(document))
        resolve(upstream, RepoReference("hf", "org/repo", "main", tail="a"))


@FEW
@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_modelscope(hub: HubClient, site: ModelScopeSite, files: Any, revisions: Any, details: Any) -> None:
    site.add("org/repo", {"a": b"1"})
    upstream = ModelScope(hub, site.endpoint, None)
    for part, document in (("/repo/files", files), ("/revisions", revisions), ("/org/repo", details)):
        for sent in (document, {"Code": 200, "Success": True, "Data": document}):
            site.script(part, Reply.json(sent))
            resolve(upstream, RepoReference("ms", "org/repo", "main"))
