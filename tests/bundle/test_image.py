"""Bundles of container images: their bytes, what is refused, and where their files are found."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from modelfetch.bundle.documents import FILEPATH, digest
from modelfetch.bundle.image import parts_of
from modelfetch.bundle.verifier import (
    BLOBS,
    USTAR_LIMIT,
    BundleError,
    build_header,
    check_layer,
    layer_size,
    main,
)
from modelfetch.errors import IntegrityError, ManifestError
from modelfetch.model.registry_documents import FILE_DIGEST
from modelfetch.sources.local import LocalSource, Places
from modelfetch.sources.local_bundles import BundleOffer, LocalBundle
from tests.bundle.material import CONTENTS, Parts, compact, image_parts, layer_of, manifest_of, read

MODEL = "onnx/model.onnx"
DATA = CONTENTS[MODEL]
LAYER = layer_of(MODEL, DATA)
MANIFEST = manifest_of(CONTENTS)


# Bytes


def test_an_image_has_these_documents_every_time() -> None:
    """A change of any byte would change the digests of images that are in registries."""
    made = image_parts({"config.json": b"{}"})
    config = next(data for data in made.members.values() if data.startswith(b'{"architecture"'))
    layers = made.manifest["layers"]
    assert config == compact(
        {
            "architecture": "amd64",
            "config": {},
            "os": "linux",
            "rootfs": {"diff_ids": [layer["digest"] for layer in layers], "type": "layers"},
        }
    )
    assert layers[0] == {
        "annotations": {FILEPATH: "config.json", FILE_DIGEST: digest(b"{}")},
        "digest": "sha256:21c935abaca6b95bb5f53b24145fe7ab8c58c09d30075561b91909b13a3b40e8",
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "size": 2048,
    }
    assert digest(image_parts({"config.json": b"{}"}).tar()) == digest(made.tar())
    assert "artifactType" not in made.manifest
    assert "artifactType" not in made.index["manifests"][0]


def test_a_layer_is_read_by_tarfile_and_has_the_file_at_byte_512() -> None:
    assert LAYER[512 : 512 + len(DATA)] == DATA
    assert len(LAYER) == layer_size(len(DATA))
    for path in (MODEL, "é.txt", "a" * 93, f"{'d' * 80}/{'f' * 90}", f"{'d' * 148}/{'f' * 100}"):
        layer = layer_of(path, DATA, executable=True)
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            [info] = tar.getmembers()
        assert (info.name, info.size, info.mode) == (f"models/{path}", len(DATA), 0o755)
        assert (info.uid, info.gid, info.mtime, info.uname) == (0, 0, 0, "")
        assert info.offset_data == 512
        assert check_layer(layer[:512], path, len(layer)) == len(DATA)


def test_a_large_file_has_one_header_as_well() -> None:
    head = parts_of("model.gguf", 5 * USTAR_LIMIT).head
    info = tarfile.TarInfo("models/model.gguf")
    info.size = 5 * USTAR_LIMIT
    assert head == info.tobuf(tarfile.GNU_FORMAT)
    assert check_layer(head, "model.gguf", layer_size(5 * USTAR_LIMIT)) == 5 * USTAR_LIMIT


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("a" * 101, 1),
        (f"{'d' * 160}/f", 1),
        (f"d/{'f' * 101}", 1),
        (f"{'d' * 60}/{'f' * 60}", USTAR_LIMIT),
        ("\ud800", 1),
        (".wh.config.json", 0),
        ("onnx/.wh..wh..opq", 0),
    ],
)
def test_what_does_not_fit_into_a_header_is_refused(path: str, size: int) -> None:
    with pytest.raises(ValueError, match=r"header|surrogates|deletes files"):
        parts_of(path, size)


def test_whiteouts_are_refused(path: Path) -> None:
    made = image_parts({"a": b""})
    data = build_header("models/.wh.a", 0) + bytes(1024)
    toml = made.toml.replace(b'"a"', b'".wh.a"')
    assert toml != made.toml
    own = layer_of("tiny.toml", toml)
    changed = [(data, digest(b""), ".wh.a"), (own, digest(toml), "tiny.toml")]
    for number, (content, sha256, name) in enumerate(changed):
        made.members[BLOBS + digest(content)] = content
        layer = made.manifest["layers"][number]
        layer |= {"digest": f"sha256:{digest(content)}", "size": len(content)}
        layer["annotations"] |= {FILE_DIGEST: sha256, FILEPATH: name}
    ids = [layer["digest"] for layer in made.manifest["layers"]]
    path.write_bytes(reconfigure(made, {"rootfs": {"diff_ids": ids}}).tar())
    with pytest.raises(IntegrityError, match="deletes files"):
        read(path)


# Reading


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.tar"


def test_an_image_is_read_and_verified(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(image_parts().tar())
    [model] = read(path)
    assert model.is_image
    assert model.manifest == MANIFEST
    assert main([str(path)]) == 0
    path.write_bytes(image_parts(programs=[MODEL]).tar())
    assert [file.executable for file in read(path)[0].manifest.files] == [False, True]
    assert main([str(path)]) == 0
    capsys.readouterr()


def relayer(data: bytes, made: Parts | None = None, **changes: object) -> Parts:
    """An image with another layer of the model, rightly described."""
    made = made or image_parts()
    named = {"digest": f"sha256:{digest(data)}", "size": len(data)}
    made.members[BLOBS + digest(data)] = data
    made.manifest["layers"][1] |= named | changes
    ids = [layer["digest"] for layer in made.manifest["layers"]]
    return reconfigure(made, {"rootfs": {"type": "layers", "diff_ids": ids}})


def reconfigure(made: Parts, config: object) -> Parts:
    data = compact(config)
    made.members[BLOBS + digest(data)] = data
    made.manifest["config"] |= {"digest": f"sha256:{digest(data)}", "size": len(data)}
    return made.seal()


def annotated(**changes: str) -> Parts:
    made = image_parts()
    layer = made.manifest["layers"][1]
    return relayer(LAYER, annotations=layer["annotations"] | {FILEPATH: MODEL} | changes)


def tar_of(*members: tuple[str, bytes], format: int = tarfile.USTAR_FORMAT, **fields: object) -> bytes:  # noqa: A002
    """A tar as another program writes it."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(data))
    return target.getvalue()[: layer_size(sum(512 + len(data) for _, data in members))]


HEAD = LAYER[:512]
END = bytes(1024)
OTHER = build_header("models/x", 0)
ALONE: dict[str, Callable[[], bytes]] = {
    "another name": lambda: layer_of("onnx/other.onnx", DATA),
    "outside": lambda: build_header("../" + MODEL, len(DATA)) + LAYER[512:],
    "absolute": lambda: build_header("/models/" + MODEL, len(DATA)) + LAYER[512:],
    "no directory": lambda: build_header(MODEL, len(DATA)) + LAYER[512:],
    "a dot": lambda: build_header("./models/" + MODEL, len(DATA)) + LAYER[512:],
    "an owner by number": lambda: tar_of((f"models/{MODEL}", DATA), mode=0o644, uid=1),
    "set user id": lambda: build_header(f"models/{MODEL}", len(DATA), 0o4755) + LAYER[512:],
    "a time": lambda: tar_of((f"models/{MODEL}", DATA), mode=0o644, mtime=1),
    "an owner": lambda: tar_of((f"models/{MODEL}", DATA), mode=0o644, uname="root"),
    "a link": lambda: tar_of((f"models/{MODEL}", DATA), type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a directory before": lambda: build_header("models/", 0) + LAYER,
    "a file before": lambda: OTHER + LAYER,
    "a file behind": lambda: LAYER[: -len(END)] + OTHER + END,
    "a file behind the end": lambda: LAYER + OTHER + END,
    "a file in the place of the end": lambda: LAYER[: -len(END)] + OTHER + END[:512],
    "data in the end": lambda: LAYER[:-1] + b"x",
    "data in the padding": lambda: layer_of(MODEL, DATA[:-100])[: 512 + len(DATA) - 100] + b"x" * 100 + END,
    "no end": lambda: LAYER[: -len(END)],
    "half an end": lambda: LAYER[:-512],
    "a longer end": lambda: LAYER + bytes(512),
    "a larger size": lambda: build_header(f"models/{MODEL}", len(DATA) + 1) + LAYER[512:],
    "a huge size": lambda: build_header(f"models/{MODEL}", 2**60) + LAYER[512:],
    "a smaller size": lambda: build_header(f"models/{MODEL}", len(DATA) - 1) + LAYER[512:],
    "a wrong checksum": lambda: HEAD[:148] + b"000000\0 " + LAYER[156:],
    "whiteout": lambda: build_header("models/.wh..wh..opq", 0) + END,
    "the file itself": lambda: DATA,
    "nothing": lambda: b"",
    "a cut header": lambda: HEAD[:300],
    "zeros": lambda: bytes(len(LAYER)),
    "gnu long name": lambda: tar_of((f"models/{'d' * 200}", DATA), format=tarfile.GNU_FORMAT),
    "pax": lambda: tar_of((f"models/{MODEL}", DATA), format=tarfile.PAX_FORMAT, pax_headers={"path": "x"}),
    "compressed": lambda: gzip.compress(LAYER),
}
"""Layers that are not an archive of the model alone."""


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("name", ALONE)
def test_a_layer_must_be_an_archive_of_its_file_alone(
    path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_bytes(relayer(ALONE[name]()).tar())
    with pytest.raises(IntegrityError):
        read(path)
    assert main([str(path)]) == 5
    assert "is not an archive of that file alone" in capsys.readouterr().out


DOCUMENTS: dict[str, Callable[[], Parts]] = {
    "config without layers": lambda: reconfigure(image_parts(), {"rootfs": {}}),
    "config is a list": lambda: reconfigure(image_parts(), []),
    "config with other layers": lambda: reconfigure(
        image_parts(), {"rootfs": {"diff_ids": [f"sha256:{digest(DATA)}"] * 3}}
    ),
    "another digest of the file": lambda: annotated(**{FILE_DIGEST: "a" * 64}),
    "no digest of the file": lambda: annotated(**{FILE_DIGEST: ""}),
    "another path": lambda: annotated(**{FILEPATH: "../x"}),
    "no path": lambda: annotated(**{FILEPATH: ""}),
    "endless path of the manifest": lambda: renamed(image_parts(), "a" * 100_000),
    "compressed": lambda: relayer(
        gzip.compress(LAYER), mediaType="application/vnd.oci.image.layer.v1.tar+gzip"
    ),
    "raw": lambda: relayer(DATA, mediaType="application/vnd.cncf.model.weight.v1.raw"),
    "an artifact with layers of an image": lambda: retyped(image_parts()),
}


def renamed(made: Parts, path: str) -> Parts:
    made.manifest["layers"][-1]["annotations"][FILEPATH] = path
    return made.seal()


def retyped(made: Parts) -> Parts:
    made.manifest["artifactType"] = "application/vnd.cncf.model.manifest.v1+json"
    return made.seal()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_that_do_not_fit_are_refused(path: Path, name: str) -> None:
    path.write_bytes(DOCUMENTS[name]().tar())
    with pytest.raises((IntegrityError, ManifestError)) as caught:
        read(path)
    assert len(caught.value.message) < 1000
    assert ("--preserve-digests" in caught.value.message) == (name in ("compressed", "raw"))


def test_the_verifier_finds_other_bytes_in_a_layer(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its documents are right, so that only reading the file shows it."""
    path.write_bytes(relayer(layer_of(MODEL, DATA[:-1] + b"x")).tar())
    assert read(path), "without reading the files nothing is wrong"
    assert main([str(path)]) == 5
    assert capsys.readouterr().out.startswith(f"{MODEL} of tiny:1:")


# As a source


def offer(path: Path, notes: list[str] | None = None) -> BundleOffer | None:
    bundle = LocalBundle(path, (notes if notes is not None else []).append)
    found = LocalSource([], lambda: Places((), bundles=[bundle])).offers(MANIFEST, MANIFEST.file(MODEL))
    return found[0] if found and isinstance(found[0], BundleOffer) else None


@pytest.mark.parametrize("form", ["file", "volumes", "layout"])
@pytest.mark.parametrize(("start", "end"), [(0, None), (100, 700), (2304, None)])
def test_the_files_of_an_image_are_offered(path: Path, form: str, start: int, end: int | None) -> None:
    made = image_parts()
    if form == "file":
        path.write_bytes(made.tar())
    elif form == "volumes":
        for number in range(-(-len(made.tar()) // 900)):
            part = made.tar()[900 * number : 900 * number + 900]
            path.with_name(f"image.tar.{number + 1:03}").write_bytes(part)
    else:
        (path / "blobs" / "sha256").mkdir(parents=True)
        for name, data in made.members.items():
            (path / name).write_bytes(data)
    found = offer(path)
    assert found is not None
    with closing(found.open(start, end)) as stream:
        assert b"".join(stream) == DATA[start:end]


def test_an_image_with_malformed_documents_is_used_as_far_as_it_is_read(path: Path) -> None:
    made = relayer(ALONE["an owner"]())
    path.write_bytes(made.tar())
    notes: list[str] = []
    assert offer(path, notes) is None
    [note] = notes
    assert "used only in part" in note
    made.index["manifests"] *= 1000
    made.members["index.json"] = compact(made.index)
    path.write_bytes(made.tar())
    assert offer(path, notes) is None


def test_an_endless_path_makes_no_endless_note(path: Path) -> None:
    path.write_bytes(renamed(image_parts(), "a" * 100_000).tar())
    notes: list[str] = []
    offer(path, notes)
    assert len(notes[0]) < 1000


def test_a_header_of_another_archive_is_no_layer() -> None:
    with pytest.raises(BundleError):
        check_layer(b"\xff" * 512, MODEL, len(LAYER))
    assert json.loads(compact(image_parts().manifest))["schemaVersion"] == 2
