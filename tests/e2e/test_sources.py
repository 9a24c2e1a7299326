"""Where bytes may come from: this disk first, every kind of source, a token to its own origin only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.command import InProcess, assert_fails
from tests.origin import Content, Origin, ServedModel, faults, model
from tests.origin.models import revision_of


@pytest.fixture
def cli(inside: InProcess) -> InProcess:
    return inside


def hub_cache(root: Path, served: ServedModel) -> dict[str, str]:
    """Lay a model out as the Hugging Face libraries do: large files by SHA-256, small ones by another digest.

    Returns:
        The environment in which the libraries, and we, find it.
    """
    repo = root / f"models--origin--{served.name}"
    for path, content in served.contents.items():
        name = content.sha256 if content.size >= 1000 else f"git-{content.sha256[:35]}"
        link = repo / "snapshots" / revision_of(served.name) / path
        (repo / "blobs").mkdir(parents=True, exist_ok=True)
        (repo / "blobs" / name).write_bytes(content.data)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(repo / "blobs" / name)
    return {"HF_HUB_CACHE": str(root)}


def test_what_another_model_has_is_not_fetched_again(cli: InProcess, origin: Origin) -> None:
    """From its blob, and where the blob is lost from the file itself."""
    shared = Content.random("shared", 100_000)
    for name in ("one", "two", "three"):
        cli.serve(model(origin, {f"{name}.bin": shared}, name=name, catalog=cli.catalog))
    cli.prepare("one")
    origin.forget()
    cli.prepare("two")
    for blob in cli.files("blobs"):
        blob.unlink()
    (cli.cache / "models/two/1/two.bin").unlink()
    result = cli("ensure", "three", "--offline")
    assert result.code == 0, result.err
    assert origin.requests == []
    assert (cli.cache / "models/three/1/three.bin").read_bytes() == shared.data


def test_what_the_hugging_face_libraries_downloaded_is_used_offline(
    cli: InProcess, origin: Origin, tmp_path: Path
) -> None:
    served = cli.serve(model(origin, {"big.bin": 50_000, "a/small.json": b"{}"}, catalog=cli.catalog))
    result = cli("ensure", "m", "--offline", **hub_cache(tmp_path / "hub", served))
    assert result.code == 0, result.err
    assert cli.has(served)
    assert not any(path.is_symlink() for path in cli.directory(served).rglob("*"))
    assert origin.requests == []


def test_a_damaged_file_of_another_cache_is_fetched_instead(
    cli: InProcess, origin: Origin, tmp_path: Path
) -> None:
    served = cli.serve(model(origin, {"big.bin": 50_000}, catalog=cli.catalog))
    environment = hub_cache(tmp_path / "hub", served)
    (damaged,) = (tmp_path / "hub").rglob("blobs/*")
    damaged.write_bytes(bytes(50_000))
    result = cli("ensure", "m", **environment)
    assert result.code == 0, result.err
    assert cli.has(served)
    assert result.stderr_lines("fallback: local", "huggingface")
    assert damaged.read_bytes() == bytes(50_000), "another program's file is not touched"


def test_every_kind_of_source_delivers_by_itself(cli: InProcess, origin: Origin) -> None:
    files = {"a/b+c.bin": 20_000, "d.bin": 1}
    served = [
        model(origin, files, name="by-cid", huggingface=False, ipfs="file", catalog=cli.catalog),
        model(origin, files, name="by-directory", huggingface=False, ipfs="directory", catalog=cli.catalog),
        model(origin, files, name="by-url", huggingface=False, urls=[origin], catalog=cli.catalog),
        model(origin, files, name="by-mirror", huggingface=False, mirrors=[origin], catalog=cli.catalog),
        model(
            origin, files, name="by-digest", huggingface=False, mirrors=[origin.blobs], catalog=cli.catalog
        ),
        cli.serve(model(origin, files, name="by-hub", catalog=cli.catalog)),
    ]
    result = cli("ensure", *(each.name for each in served), MODELFETCH_IPFS_GATEWAYS=origin.endpoint)
    assert result.code == 0, result.err
    assert all(map(cli.has, served))
    assert origin.bytes_sent == sum(each.size for each in served)


def test_a_token_goes_to_the_endpoint_and_not_along_the_redirect(cli: InProcess, origin: Origin) -> None:
    with Origin() as cdn:
        origin.require_token("hf_right")
        origin.redirect_large(cdn, at=10_000)
        served = cli.serve(model(origin, {"big.bin": 50_000, "small.bin": 5}, catalog=cli.catalog))
        result = cli("ensure", "m", HF_TOKEN="hf_right")
        assert result.code == 0, result.err
        assert cli.has(served)
        assert [request.header("Authorization") for request in origin.requests] == ["Bearer hf_right"] * 2
        assert cdn.bytes_sent == 50_000
        assert cdn.foreign_headers == set()


def test_a_token_goes_to_no_mirror(cli: InProcess, origin: Origin) -> None:
    with Origin() as mirror:
        mirror.fault("*", faults.status(401))
        cli.serve(model(origin, {"a.bin": 100}, mirrors=[mirror], catalog=cli.catalog))
        assert cli("ensure", "m", HF_TOKEN="hf_right").code == 0
        assert mirror.requests != []
        assert mirror.foreign_headers == set()


def test_the_libraries_of_hugging_face_find_what_was_laid_out_for_them(
    cli: InProcess, origin: Origin, tmp_path: Path
) -> None:
    """At the pinned revision, and as ``main`` unless the cache knows another one already."""
    served = cli.serve(model(origin, {"config.json": 300, "onnx/m.onnx": 9_000}, catalog=cli.catalog))
    hub = tmp_path / "hub"
    assert cli("ensure", "m", "--layout", "hf", HF_HUB_CACHE=str(hub)).code == 0
    repo, revision = hub / "models--origin--m", revision_of("m")
    assert (repo / "refs" / "main").read_text() == revision
    for path, content in served.contents.items():
        assert (repo / "snapshots" / revision / path).read_bytes() == content.data
    (repo / "refs" / "main").write_text("another")
    assert cli("ensure", "m", "--layout", "hf", HF_HUB_CACHE=str(hub)).code == 0
    assert (repo / "refs" / "main").read_text() == "another"


def test_a_file_of_that_cache_with_other_bytes_is_never_replaced(
    cli: InProcess, origin: Origin, tmp_path: Path
) -> None:
    """The command stops before a byte is fetched; a file that is right already, or leads to one, stays."""
    served = cli.serve(model(origin, {"config.json": 300, "m.onnx": 9_000}, catalog=cli.catalog))
    repo = tmp_path / "hub" / "models--origin--m"
    snapshot = repo / "snapshots" / revision_of("m")
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    (repo / "blobs" / "theirs").write_bytes(bytes(300))
    (snapshot / "config.json").symlink_to("../../blobs/theirs")
    result = cli("ensure", "m", "--layout", "hf", HF_HUB_CACHE=str(tmp_path / "hub"))
    assert_fails(result, 2, "config.json already exists", "--layout hf")
    assert origin.requests == []
    assert (repo / "blobs" / "theirs").read_bytes() == bytes(300)
    (repo / "blobs" / "theirs").write_bytes(served.contents["config.json"].data)
    (snapshot / "m.onnx").symlink_to("../../blobs/gone")
    assert cli("ensure", "m", "--layout", "hf", HF_HUB_CACHE=str(tmp_path / "hub")).code == 0
    assert (snapshot / "config.json").is_symlink()
    assert (snapshot / "m.onnx").read_bytes() == served.contents["m.onnx"].data
    assert cli("ensure", "m", "--layout", "hf", HF_HUB_CACHE=str(tmp_path / "hub")).code == 0


def test_a_model_from_elsewhere_has_no_place_in_that_layout(cli: InProcess, origin: Origin) -> None:
    cli.serve(model(origin, {"a.bin": 10}, huggingface=False, urls=(origin,), catalog=cli.catalog))
    assert_fails(cli("ensure", "m", "--layout", "hf"), 2, "does not come from Hugging Face", "--to")
