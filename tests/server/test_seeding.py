"""``serve --swarm``: which models are uploaded, from where, and when that ends."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from modelfetch.engine.swarm_options import SwarmOptions
from modelfetch.engine.swarm_session import Session
from modelfetch.errors import StoreError
from modelfetch.lazy_dataclass import replace
from modelfetch.model.manifest import Manifest
from modelfetch.model.write import manifest_toml
from modelfetch.server import swarm_seeding
from modelfetch.server.runner import ServerWorkspace
from modelfetch.server.swarm_seeding import Seeding
from modelfetch.swarm import rendezvous
from modelfetch.swarm.engine import EngineOptions, Mode, TorrentSpec
from tests.engine.fake_swarm import FakeEngine, torrent_of, with_torrent
from tests.engine.fakes import Answer, Laboratory, body, code, model

CONTENT = body(200_000)


class Removing(FakeEngine):
    """Notes which torrents it was asked to forget."""

    def __init__(self) -> None:
        plain = model("demo-model", {"model.bin": CONTENT})
        super().__init__(torrent_of(plain, [CONTENT]), CONTENT)
        self.removed: list[str] = []

    def remove(self, infohash: str) -> None:
        self.removed.append(infohash)


@pytest.fixture
def engine() -> Removing:
    return Removing()


@pytest.fixture
def manifest(lab: Laboratory, tmp_path: Path, engine: Removing) -> Manifest:
    plain = model("demo-model", {"model.bin": CONTENT})
    catalog = tmp_path / "catalog"
    found = with_torrent(plain, engine.metainfo, catalog)
    (catalog / "demo-model.toml").write_text(manifest_toml(found))
    return found


@pytest.fixture
def lab(tmp_path: Path) -> Laboratory:
    return Laboratory(tmp_path / "cache")


@pytest.fixture
def workspace(tmp_path: Path) -> ServerWorkspace:
    environ = {"MODELFETCH_CATALOG": str(tmp_path / "catalog"), "HOME": str(tmp_path)}
    return ServerWorkspace({"cache_dir": str(tmp_path / "cache")}, environ=environ, cwd=tmp_path)


@pytest.fixture
def seeding(lab: Laboratory, engine: Removing, workspace: ServerWorkspace) -> Seeding:
    session = Session(lab.store, SwarmOptions(), lambda: engine, print, is_threaded=False)
    return Seeding(session, workspace.load)


def test_a_present_model_is_uploaded_from_its_own_files(
    seeding: Seeding, lab: Laboratory, engine: Removing, manifest: Manifest
) -> None:
    lab.install(manifest, contents=[CONTENT])
    seeding.refresh()
    [spec] = engine.specs
    assert spec.mode is Mode.SEED
    assert spec.paths == {"model.bin": lab.place(manifest, "model.bin")}
    seeding.refresh()
    assert len(engine.specs) == 1


def test_what_is_not_present_or_has_no_torrent_file_starts_nothing(
    seeding: Seeding, lab: Laboratory, engine: Removing, manifest: Manifest, tmp_path: Path
) -> None:
    seeding.refresh()
    assert engine.options is None
    lab.install(manifest, contents=[CONTENT])
    (tmp_path / "catalog" / "demo-model.torrent").unlink()
    seeding.refresh()
    assert engine.options is None


def test_a_server_that_has_nothing_to_upload_says_once_how_that_changes(
    seeding: Seeding, lab: Laboratory, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever gives --swarm expects uploads; that torrents are made by a command is easily missed."""
    for _ in range(2):
        seeding.refresh()
    [line] = [each.getMessage() for each in caplog.records]
    assert line.startswith("note: no model here has a swarm yet")
    assert "`modelfetch swarm publish NAME`" in line
    caplog.clear()
    lab.install(manifest, contents=[CONTENT])
    seeding.refresh()
    assert not caplog.records


def test_a_server_that_has_something_to_upload_says_nothing(
    seeding: Seeding, lab: Laboratory, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    lab.install(manifest, contents=[CONTENT])
    seeding.refresh()
    lab.store.remove("demo-model", manifest.files, dry_run=False)
    seeding.refresh()
    assert not caplog.records


def test_a_line_that_comes_again_and_again_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swarm_seeding, "MOST_LINES", 3)
    shown: list[str] = []
    once = swarm_seeding._Once(shown.append)
    for number in range(10):
        once("again")
        once(f"new {number}")
    assert shown == ["again", *(f"new {number}" for number in range(10))]
    assert len(once._shown) == 3
    once("new 0")
    assert shown[-1] == "new 0"


def test_a_removed_model_is_forgotten(
    seeding: Seeding, lab: Laboratory, engine: Removing, manifest: Manifest
) -> None:
    lab.install(manifest, contents=[CONTENT])
    seeding.refresh()
    lab.store.remove("demo-model", manifest.files, dry_run=False)
    seeding.refresh()
    assert engine.removed == [engine.metainfo.infohash]
    assert not seeding.session.seeds


def test_a_damaged_model_is_not_uploaded(
    seeding: Seeding, lab: Laboratory, engine: Removing, manifest: Manifest
) -> None:
    lab.install(manifest, contents=[CONTENT])
    place = lab.place(manifest, "model.bin")
    place.chmod(0o644)
    place.write_bytes(CONTENT[:-1])
    seeding.refresh()
    assert not engine.specs


@pytest.fixture
def short_discovery(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nobody to discover."""
    monkeypatch.setattr(rendezvous, "DISCOVERY_SECONDS", 0.05)
    monkeypatch.setattr(rendezvous, "SETTLED_SECONDS", 0.05)


@pytest.mark.usefixtures("short_discovery")
def test_a_model_that_a_job_fetched_is_uploaded_without_the_copy(
    seeding: Seeding, lab: Laboratory, engine: Removing, manifest: Manifest
) -> None:
    lab.serve(CONTENT)
    runtime = replace(lab.runtime(), swarm=seeding.session)
    # Not pumped: the machine hears of nobody, and reads by itself once the discovery is over.
    assert code(lab.ensure(manifest, runtime=runtime)) == 0
    assert engine.specs[0].mode is Mode.LEECH
    for path in engine.specs[0].paths.values():
        path.write_bytes(CONTENT)
    seeding.refresh()
    assert engine.specs[1].mode is Mode.SEED
    assert not any(path.exists() for path in engine.specs[0].paths.values())
    assert not seeding.session.models


@pytest.mark.usefixtures("short_discovery")
def test_a_model_is_not_uploaded_while_a_job_fetches_it(
    seeding: Seeding, lab: Laboratory, engine: Removing, manifest: Manifest, tmp_path: Path
) -> None:
    tried = []

    def seed() -> None:
        tried.append(seeding.session.seed(manifest, tmp_path))

    lab.serve(CONTENT, Answer(before_piece=seed))
    runtime = replace(lab.runtime(), swarm=seeding.session)
    assert code(lab.ensure(manifest, runtime=runtime)) == 0
    assert tried
    assert not any(tried)
    assert [spec.mode for spec in engine.specs] == [Mode.LEECH]
    seeding.refresh()
    assert [spec.mode for spec in engine.specs] == [Mode.LEECH, Mode.SEED]


def test_a_model_that_the_engine_refuses_is_tried_again(
    seeding: Seeding,
    lab: Laboratory,
    engine: Removing,
    manifest: Manifest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lab.install(manifest, contents=[CONTENT])
    add = engine.add

    def refuse_once(torrent: TorrentSpec) -> None:
        engine.add = add  # type: ignore[method-assign]
        raise ValueError("a path is not UTF-8")

    engine.add = refuse_once  # type: ignore[method-assign]
    seeding.refresh()
    assert capsys.readouterr().out == "demo-model is not uploaded: a path is not UTF-8\n"
    assert not engine.specs
    seeding.refresh()
    assert [spec.mode for spec in engine.specs] == [Mode.SEED]


def test_a_stopped_server_uploads_nothing_more(
    seeding: Seeding, lab: Laboratory, engine: Removing, manifest: Manifest
) -> None:
    lab.install(manifest, contents=[CONTENT])
    seeding.refresh()
    seeding.stop()
    assert engine.is_closed
    seeding.refresh()
    assert len(engine.specs) == 1


def test_a_system_that_had_no_thread_for_the_engine_is_asked_again(
    seeding: Seeding,
    lab: Laboratory,
    engine: Removing,
    manifest: Manifest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lab.install(manifest, contents=[CONTENT])
    start = engine.start

    def refuse_once(options: EngineOptions) -> None:
        engine.start = start  # type: ignore[method-assign]
        raise StoreError("no thread is left")

    engine.start = refuse_once  # type: ignore[method-assign]
    seeding.refresh()
    assert capsys.readouterr().out == "no swarm: no thread is left\n"
    seeding.refresh()
    assert [spec.mode for spec in engine.specs] == [Mode.SEED]
    seeding.stop()
    assert not list((lab.store.root / "partial").iterdir())  # no directory of the first attempt either


def test_without_a_thread_that_looks_for_models_there_is_no_seeding(
    manifest: Manifest, workspace: ServerWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("libtorrent")

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with (
        pytest.raises(StoreError, match="no more threads"),
        swarm_seeding.seeding(workspace.load(), workspace.load),
    ):
        pass


def test_a_port_of_peers_that_is_in_use_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """Machines that name this one by that port, and a firewall that opens it, would be wrong in silence."""
    swarm_seeding.warn_of_port(0)  # any: nobody can name it
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        swarm_seeding.warn_of_port(port)
    [line] = [each.getMessage() for each in caplog.records]
    assert line.startswith(f"note: port {port} of the swarm (swarm.port) is in use, so another one is taken")
