"""Two unrelated hubs behind one manifest: the second finishes a file that the first began."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine.events import Event, FileResult, RunFinished, SourceFailed
from modelfetch.engine.options import EnsureOptions
from modelfetch.engine.setup import RunOptions
from modelfetch.errors import Fault
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.reference import RepoReference
from modelfetch.net.client import Client
from modelfetch.net.hub_client import HubClient
from modelfetch.net.time_limits import Limits
from modelfetch.upstreams.access import Access
from modelfetch.upstreams.registry import open_upstream
from modelfetch.workspace import Workspace
from tests.hubs.huggingface import HuggingFaceHub
from tests.hubs.modelscope import ModelScopeSite
from tests.hubs.server import Reply, Request

WEIGHTS = bytes(range(256)) * 4000
FILES = {"model.onnx": WEIGHTS}
KEPT = 300_000


@dataclass
class Place:
    """Two hubs with the same repository, and a cache."""

    hub: HuggingFaceHub
    site: ModelScopeSite
    workspace: Workspace

    def pinned(self) -> Manifest:
        """The manifest of both hubs, from the digests that both state."""
        client = Client(Limits(), Cancellation())
        access = Access(HubClient(client, Cancellation()), self.workspace.loaded, {})
        references = (RepoReference("hf", "org/repo"), RepoReference("ms", "org/repo"))
        hf, ms = (open_upstream(reference, access).resolve(reference) for reference in references)
        client.close()
        assert [(file.path, file.size, file.sha256) for file in hf.files] == [
            (file.path, file.size, file.sha256) for file in ms.files
        ]
        files = tuple(FileSpec(file.path, file.size or 0, file.sha256 or "") for file in hf.files)
        return Manifest(
            "m", hf.revision[:12], files, license="MIT", huggingface=hf.huggingface, modelscope=ms.modelscope
        )

    def ensure(self, manifest: Manifest) -> list[Event]:
        """Fetch the model over one connection, so that the end of the first hub is in the middle."""
        options = EnsureOptions(run=RunOptions(connections=1))
        return list(self.workspace.ensure([manifest], options))

    def content(self, manifest: Manifest) -> bytes:
        """The file in the cache."""
        [path] = self.workspace.loaded.cache_dir.rglob(manifest.files[0].path)
        return path.read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with HuggingFaceHub() as hub, ModelScopeSite() as site:
        hub.add("org/repo", FILES)
        site.add("org/repo", FILES)
        environ = {
            "HOME": str(tmp_path),
            "MODELFETCH_CACHE_DIR": str(tmp_path / "cache"),
            "MODELFETCH_RETRY_BASE": "0.001",
            "MODELFETCH_RETRY_ATTEMPTS": "1",
            "HF_ENDPOINT": hub.endpoint,
            "MODELSCOPE_ENDPOINT": site.endpoint,
        }
        yield Place(hub, site, Workspace.open(environ=environ, cwd=tmp_path))


def results(events: Sequence[Event]) -> list[FileResult]:
    [finished] = [event for event in events if isinstance(event, RunFinished)]
    return list(finished.files)


def dies(place: Place) -> None:
    """Let the Hub end in the middle of the file, and never answer again."""

    def cut(request: Request) -> Reply:
        place.hub.is_dead = True
        return Reply(200, {}, WEIGHTS, cut=KEPT)

    place.hub.script("/resolve/", cut)


@pytest.mark.parametrize("is_odd", [False, True], ids=["206", "200 with Content-Range"])
def test_the_second_hub_finishes_what_the_first_began(place: Place, is_odd: bool) -> None:
    manifest = place.pinned()
    place.site.is_odd = is_odd
    dies(place)
    events = place.ensure(manifest)
    [result] = results(events)
    assert (result.status, result.source) == ("completed", f"modelscope {place.site.host}")
    assert place.content(manifest) == WEIGHTS
    [failed] = [event for event in events if isinstance(event, SourceFailed)]
    assert (failed.source, failed.received) == ("huggingface", KEPT)
    [request] = [request for request in place.site.requests if "FilePath=" in request.target]
    assert request.headers["range"] == f"bytes={KEPT}-{len(WEIGHTS) - 1}"


def test_a_branch_that_moved_is_reported_as_such(place: Place) -> None:
    manifest = place.pinned()
    place.hub.is_dead = True
    place.site.repos["model", "org/repo"].revisions["master"] = {"model.onnx": WEIGHTS[:-1] + b"x"}
    events = place.ensure(manifest)
    [failed] = [event for event in events if isinstance(event, SourceFailed) and event.source == "modelscope"]
    assert failed.fault == Fault.HASH
    assert "the branch has probably moved" in failed.reason
