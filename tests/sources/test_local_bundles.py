"""Bundles as places on this disk: what is offered, and what is read of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from modelfetch.bundle.documents import digest
from modelfetch.errors import Fault, SourceError
from modelfetch.model.manifest import FileSpec
from modelfetch.sources.local import LocalSource, Places
from modelfetch.sources.local_bundles import BundleOffer, LocalBundle, in_layout, is_bundle_file
from tests.bundle.material import CONTENTS, manifest_of, parts

PATH = "onnx/model.onnx"
DATA = CONTENTS[PATH]
MANIFEST = manifest_of(CONTENTS)
FILE = MANIFEST.file(PATH)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "b.tar"
    path.write_bytes(parts().tar())
    return path


def offers(*bundles: LocalBundle) -> list[BundleOffer]:
    found = LocalSource([], lambda: Places((), bundles=bundles)).offers(MANIFEST, FILE)
    return [offer for offer in found if isinstance(offer, BundleOffer)]


def read(offer: BundleOffer, start: int = 0, end: int | None = None) -> bytes:
    with closing(offer.open(start, end)) as stream:
        assert (stream.start, stream.ranged) == (start, True)
        return b"".join(stream)


@pytest.mark.parametrize(("start", "end"), [(0, None), (5, None), (0, 9), (100, 700), (2304, None)])
def test_a_blob_is_read_in_parts(bundle: Path, start: int, end: int | None) -> None:
    [offer] = offers(LocalBundle(bundle))
    assert read(offer, start, end) == DATA[start:end]
    assert offer.host == str(bundle)


def test_a_blob_that_volumes_share_is_read(bundle: Path) -> None:
    data = bundle.read_bytes()
    bundle.unlink()
    for number in range(-(-len(data) // 600)):
        part = data[600 * number : 600 * number + 600]
        bundle.with_name(f"b.tar.{number + 1:03}").write_bytes(part)
    for path in (bundle, bundle.with_name("b.tar.001")):
        assert is_bundle_file(path)
        [offer] = offers(LocalBundle(path))
        assert read(offer) == DATA


def test_only_the_same_digest_and_size_are_offered(bundle: Path) -> None:
    found = LocalBundle(bundle)
    assert found.offer(FileSpec(PATH, FILE.size + 1, FILE.sha256)) is None
    assert found.offer(FileSpec(PATH, FILE.size, digest(b"other"))) is None
    assert found.offer(FILE)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: b"x" * 600, "is not a bundle"),
        (lambda data: b"\x1f\x8b" + data, "is compressed"),
        (lambda data: data.replace(b"index.json", b"../../evil"), "checksum"),
    ],
)
def test_what_is_no_bundle_is_passed_over_with_one_note(
    bundle: Path, spoil: Callable[[bytes], bytes], reason: str
) -> None:
    bundle.write_bytes(spoil(bundle.read_bytes()))
    notes: list[str] = []
    found = LocalBundle(bundle, notes.append)
    assert offers(found) == offers(found) == []
    [note] = notes
    assert reason in note
    assert "not used as a source" in note


def test_a_bundle_that_changes_meanwhile_fails_as_a_source(bundle: Path) -> None:
    [offer] = offers(LocalBundle(bundle))
    bundle.write_bytes(bundle.read_bytes()[:2000])
    with pytest.raises(SourceError, match="became shorter") as caught:
        read(offer)
    assert caught.value.fault is Fault.NOT_FOUND
    bundle.unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        offer.open(0)


def test_the_blobs_of_a_directory_are_found_by_name(tmp_path: Path) -> None:
    assert not is_bundle_file(tmp_path)
    assert not is_bundle_file(tmp_path / "nowhere")
    [path] = in_layout(tmp_path)(MANIFEST, FILE)
    assert path == tmp_path / "blobs" / "sha256" / FILE.sha256
