"""Hostile and damaged bundles: each is refused, and nothing is written outside of the cache."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from modelfetch.bundle.documents import FILEPATH, LAYOUT, digest
from modelfetch.bundle.tar_format import END, header, padding
from modelfetch.bundle.verifier import BLOBS, main
from modelfetch.errors import IntegrityError, ManifestError, ModelfetchError, UsageError
from tests.bundle.material import CONTENTS, Parts, archive, compact, parts, read
from tests.e2e.command import InProcess, assert_fails

REFUSED = (IntegrityError, ManifestError, UsageError)
HEX = digest(CONTENTS["config.json"])
MODEL = digest(CONTENTS["onnx/model.onnx"])


def raw(name: bytes, kind: bytes = b"0", size: bytes = b"00000000000\0", **fields: bytes) -> bytes:
    """A header with any bytes in its fields, and the right checksum."""
    block = bytearray(header("index.json", 0))
    block[:100] = name.ljust(100, b"\0")
    block[124:136] = size
    block[156:157] = kind
    for field, start in (("target", 157), ("magic", 257), ("prefix", 345)):
        data = fields.get(field, b"")
        block[start : start + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def before(member: bytes) -> Callable[[], bytes]:
    """A good bundle behind a bad member."""
    return lambda: member + parts().tar()


def behind(member: bytes) -> Callable[[], bytes]:
    """A good bundle with a bad member at its end."""
    return lambda: parts().tar()[: -len(END)] + member + END


NAMES = {
    "parent": b"../evil",
    "parent in blobs": b"blobs/sha256/../../../evil",
    "absolute": b"/tmp/evil",
    "absolute blob": b"/blobs/sha256/" + HEX.encode(),
    "drive": b"C:\\evil",
    "backslashes": b"blobs\\sha256\\" + HEX.encode(),
    "empty": b"",
    "dot": b".",
    "unknown": b"setup.py",
    "docker": b"manifest.json",
    "upper case": b"blobs/sha256/" + HEX.upper().encode(),
    "63 digits": b"blobs/sha256/" + HEX[1:].encode(),
    "65 digits": b"blobs/sha256/" + HEX.encode() + b"a",
    "other algorithm": b"blobs/sha512/" + HEX.encode(),
    "below a blob": b"blobs/sha256/" + HEX.encode() + b"/x",
    "slash behind": b"blobs/sha256/" + HEX.encode() + b"/",
    "suffix": b"index.json.bak",
    "twice dotted": b"././oci-layout",
    "two slashes": b".//oci-layout",
    "new line": b"index.json\n",
    "space": b" index.json",
    "escape": b"\x1b[2Jevil",
    "not ascii": "blobs/sha256/é".encode(),
    "hidden behind zero": b"index.json\0evil",
    "temporary": b".index.json",
}
KINDS = {
    "hard link": b"1",
    "symbolic link": b"2",
    "character device": b"3",
    "block device": b"4",
    "directory": b"5",
    "fifo": b"6",
    "contiguous": b"7",
    "pax global": b"g",
    "pax": b"x",
    "gnu long link": b"K",
    "gnu long name": b"L",
    "gnu multi-volume": b"M",
    "gnu sparse": b"S",
    "gnu label": b"V",
    "solaris pax": b"X",
    "unknown": b"Z",
}
SIZES = {
    "negative": b"\xff" * 12,
    "negative one": b"-0000000001\0",
    "beyond 63 bits": b"\x80" + b"\xff" * 11,
    "2**63": b"\x80" + (2**63).to_bytes(11, "big"),
    "empty": b"\0" * 12,
    "letters": b"0000000000x\0",
    "nines": b"99999999999\0",
    "inner space": b"000 0000001\0",
    "larger than the file": b"77777777777\0",
    "digits that are not octal": b"00000000089\0",
    "sign": b"+0000000010\0",
    "underscore": b"0000_000010\0",
    "0 modulo 2**64": b"\x80" + (2**64).to_bytes(11, "big"),
}
TARS: dict[str, Callable[[], bytes]] = {
    **{f"name {name}": before(raw(text)) for name, text in NAMES.items()},
    **{f"name at the end {name}": behind(raw(text)) for name, text in NAMES.items()},
    **{
        f"kind {name}": before(raw(b"blobs/sha256/" + b"a" * 64, kind, target=b"/etc/passwd"))
        for name, kind in KINDS.items()
    },
    **{f"size {name}": before(raw(b"oci-layout", size=size)) for name, size in SIZES.items()},
    "link without a target": before(raw(b"index.json", b"2")),
    "regular with a target": before(raw(b"blobs/sha256/" + b"b" * 64, target=b"/etc/passwd")),
    "prefix": before(raw(b"index.json", prefix=b"../..")),
    "directory with data": before(raw(b"blobs/", b"5", b"00000001000\0") + bytes(512)),
    "directory elsewhere": before(raw(b"evil/", b"5")),
    "no magic": before(raw(b"index.json", magic=bytes(8))),
    "pax magic": behind(raw(b"index.json", magic=b"ustar\x0001")),
    "checksum": lambda: parts().tar()[:148] + b"000000\0 " + parts().tar()[156:],
    "large layout": before(header("oci-layout", 5000) + bytes(5120)),
    "large index": before(header("index.json", (16 << 20) + 1) + bytes((16 << 20) + 512)),
    "index twice": before(header("index.json", 0)),
    "blob twice": behind(header(BLOBS + HEX, 2) + b"{}" + padding(2)),
    "blob twice by another spelling": behind(header("./" + BLOBS + HEX, 2) + b"{}" + padding(2)),
    "data behind the end": lambda: parts().tar() + b"x" * 512,
    "a bundle behind the end": lambda: parts().tar() * 2,
    "endless zeros": lambda: parts().tar() + bytes(2 << 20),
    "one zero block": lambda: parts().tar()[:-1024] + bytes(512) + archive([("index.json", b"")]),
    "padding": lambda: header("oci-layout", 1) + b"{" + b"x" * 511 + parts().tar(),
    "compressed": lambda: gzip.compress(parts().tar()),
    "pax headers of Python": lambda: python_tar(tarfile.PAX_FORMAT),
    "sparse, with a map in the header": behind(
        raw(BLOBS.encode() + HEX.encode(), b"S", prefix=bytes(41) + b"00000000000\0")
    ),
    "hard link to an earlier member": behind(raw(BLOBS.encode() + b"c" * 64, b"1", target=b"index.json")),
    "layout twice with the same bytes": lambda: archive([*parts().members.items(), ("oci-layout", LAYOUT)]),
    "new line behind the end": lambda: parts().tar() + b"\n",
    "empty": lambda: b"",
    "text": lambda: b"not a bundle " * 100,
    "zeros": lambda: bytes(10_240),
    "cut in a header": lambda: parts().tar()[:700],
    "cut in a blob": lambda: parts().tar()[: -len(END) - 600],
}


def python_tar(kind: int) -> bytes:
    """A good bundle as Python writes it, with extended headers that give other names and sizes."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=kind) as tar:
        for name, data in parts().members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.pax_headers = {"path": "../../evil", "GNU.sparse.realsize": "1"}
            tar.addfile(member, io.BytesIO(data))
    return written.getvalue()


def layer(made: Parts, number: int = 0, **changes: object) -> Parts:
    made.manifest["layers"][number] |= changes
    return made.seal()


def entry(made: Parts, **changes: object) -> Parts:
    made.index["manifests"][0] |= changes
    made.members["index.json"] = compact(made.index)
    return made


def manifest(made: Parts, **changes: object) -> Parts:
    made.manifest |= changes
    return made.seal()


def without(made: Parts, name: str) -> Parts:
    del made.members[name]
    return made


def changed(made: Parts, name: str, data: bytes) -> Parts:
    made.members[name] = data
    return made


def config(made: Parts, value: object) -> Parts:
    made.manifest["config"] = value
    return made.seal()


def toml(made: Parts, old: bytes, new: bytes) -> Parts:
    assert old in made.toml
    return made.replace_toml(made.toml.replace(old, new))


def retold(made: Parts, name: str, tell: Callable[[bytes], bytes]) -> Parts:
    """Write a document in another way: the index, or the manifest, with the right digest and size."""
    if name == "index.json":
        return changed(made, name, tell(made.members[name]))
    data = tell(compact(made.manifest))
    made.members[BLOBS + digest(data)] = data
    return entry(made, digest=f"sha256:{digest(data)}", size=len(data))


def ambiguous(old: bytes, new: bytes, name: str = "index.json") -> Callable[[Parts], Parts]:
    """A document with the first of these words replaced."""
    return lambda made: retold(made, name, lambda data: data.replace(old, new, 1))


def swapped(made: Parts) -> Parts:
    """The TOML manifest gives each of two files the digest of the other."""
    other, hexes = b"0" * 64, (HEX.encode(), MODEL.encode())
    text = made.toml.replace(hexes[0], other).replace(hexes[1], hexes[0]).replace(other, hexes[1])
    return made.replace_toml(text)


def files(*paths: str) -> Callable[[Parts], Parts]:
    """A bundle whose model has files of these names, correctly described."""
    return lambda _: parts({path: path.encode() for path in paths})


def manifest_name(made: Parts) -> str:
    return BLOBS + str(made.index["manifests"][0]["digest"]).removeprefix("sha256:")


def toml_blob(made: Parts) -> str:
    return BLOBS + digest(made.toml)


def two_models(made: Parts, **changes: object) -> Parts:
    made.index["manifests"].append(made.index["manifests"][0] | changes)
    made.members["index.json"] = compact(made.index)
    return made


def extra_layer(made: Parts) -> Parts:
    made.manifest["layers"].append(made.manifest["layers"][0] | {"annotations": {FILEPATH: "extra.json"}})
    return made.seal()


def fewer_layers(made: Parts, number: int) -> Parts:
    del made.manifest["layers"][number]
    return made.seal()


DOCUMENTS: dict[str, Callable[[Parts], Parts]] = {
    "no layout": lambda made: without(made, "oci-layout"),
    "layout of another version": lambda made: changed(made, "oci-layout", b'{"imageLayoutVersion":"1.1.0"}'),
    "layout is junk": lambda made: changed(made, "oci-layout", b"junk"),
    "layout is a list": lambda made: changed(made, "oci-layout", b"[]"),
    "no index": lambda made: without(made, "index.json"),
    "index is junk": lambda made: changed(made, "index.json", b"\xff\xfe{"),
    "index is deep": lambda made: changed(made, "index.json", b"[" * 100_000),
    "index has a huge number": lambda made: changed(made, "index.json", b'{"a":' + b"9" * 5000 + b"}"),
    "index without manifests": lambda made: changed(made, "index.json", b"{}"),
    "manifests is an object": lambda made: changed(made, "index.json", b'{"manifests":{}}'),
    "no model": lambda made: changed(made, "index.json", b'{"manifests":[]}'),
    "too many models": lambda made: changed(
        made, "index.json", compact({"manifests": made.index["manifests"] * 1001})
    ),
    "other digest": lambda made: entry(made, digest="sha512:" + "a" * 128),
    "digest with a path": lambda made: entry(made, digest="sha256:../../../etc/passwd"),
    "digest is a number": lambda made: entry(made, digest=7),
    "manifest has another size": lambda made: entry(made, size=1),
    "manifest size is a text": lambda made: entry(made, size="568"),
    "manifest size is negative": lambda made: entry(made, size=-1),
    "manifest is missing": lambda made: entry(made, digest="sha256:" + "a" * 64),
    "manifest is another blob": lambda made: entry(made, digest=f"sha256:{HEX}", size=2),
    "manifest was changed": lambda made: changed(
        made, manifest_name(made), made.members[manifest_name(made)].replace(b"onnx", b"evil")
    ),
    "an index in the index": lambda made: entry(made, mediaType="application/vnd.oci.image.index.v1+json"),
    "an image": lambda made: config(made, {"mediaType": "application/vnd.oci.image.config.v1+json"}),
    "no config": lambda made: config(made, None),
    "config is missing": lambda made: config(
        made, {"mediaType": "a/b", "digest": "sha256:" + "a" * 64, "size": 3}
    ),
    "layers is a text": lambda made: manifest(made, layers="x"),
    "layer without a digest": lambda made: layer(made, digest=None),
    "layer of another size": lambda made: layer(made, size=3),
    "layer is missing": lambda made: layer(made, digest="sha256:" + "a" * 64),
    "layer of another path": lambda made: layer(made, annotations={FILEPATH: "../config.json"}),
    "layer without a path": lambda made: layer(made, annotations={}),
    "extra layer": extra_layer,
    "layer left out": lambda made: fewer_layers(made, 0),
    "no manifest of ours": lambda made: fewer_layers(made, -1),
    "two manifests of ours": lambda made: (
        made.manifest["layers"].append(made.manifest["layers"][-1]) or made.seal()
    ),
    "other artifact type": lambda made: manifest(made, artifactType="application/x"),
    "blob is missing": lambda made: without(made, BLOBS + MODEL),
    "blob is shorter": lambda made: changed(made, BLOBS + MODEL, CONTENTS["onnx/model.onnx"][:-1]),
    "blob is longer": lambda made: changed(made, BLOBS + MODEL, CONTENTS["onnx/model.onnx"] + b"x"),
    "toml was changed": lambda made: changed(made, toml_blob(made), made.toml.replace(b"tiny", b"evil")),
    "toml is missing": lambda made: without(made, toml_blob(made)),
    "toml is junk": lambda made: made.replace_toml(b"\xff"),
    "toml is empty": lambda made: made.replace_toml(b""),
    "toml of a newer schema": lambda made: toml(made, b"schema = 1", b"schema = 2"),
    "toml with another name": lambda made: toml(made, b'"tiny"', b'"evil"'),
    "toml with a path as name": lambda made: toml(made, b'"tiny"', b'"../tiny"'),
    "toml with a path as version": lambda made: toml(made, b'version = "1"', b'version = "../1"'),
    "toml with a parent in a path": lambda made: toml(made, b"onnx/model.onnx", b"../model.onnx"),
    "toml with an absolute path": lambda made: toml(made, b"onnx/model.onnx", b"/etc/passwd"),
    "toml with a device": lambda made: toml(made, b"onnx/model.onnx", b"nul.txt"),
    "toml with another digest": lambda made: toml(made, HEX.encode(), b"a" * 64),
    "toml with another size": lambda made: toml(made, b"size = 2\n", b"size = 3\n"),
    "toml with other files": lambda made: toml(made, b"config.json", b"other.json"),
    "toml with unknown keys": lambda made: toml(made, b"schema = 1", b"schema = 1\nrun = 'sh'"),
    "toml without a path": lambda made: layer(made, -1, annotations={"io.modelfetch.manifest": "1"}),
    "toml with a parent in its path": lambda made: layer(
        made, -1, annotations={"io.modelfetch.manifest": "1", FILEPATH: "../../evil.toml"}
    ),
    "the same model twice": two_models,
    "index has a key twice": ambiguous(b'"manifests":', b'"manifests":[],"manifests":'),
    "a digest twice": ambiguous(b'"digest":', b'"digest":"sha256:' + b"a" * 64 + b'","digest":'),
    "layers twice": ambiguous(b'"layers":', b'"layers":[],"layers":', "manifest"),
    "index has NaN": ambiguous(b'{"', b'{"x":NaN,"'),
    "manifest has Infinity": ambiguous(b'"schemaVersion":2', b'"schemaVersion":Infinity', "manifest"),
    "index in UTF-16": lambda made: retold(made, "index.json", lambda data: data.decode().encode("utf-16")),
    "index has a byte order mark": lambda made: retold(
        made, "index.json", lambda data: b"\xef\xbb\xbf" + data
    ),
    "index of 15 MB is deep": lambda made: retold(
        made, "index.json", lambda _: b'{"manifests":' + b"[" * (15 << 20)
    ),
    "index is a manifest as well": ambiguous(b'{"', b'{"layers":[],"'),
    "manifest is an index as well": lambda made: manifest(made, manifests=[]),
    "manifest says that it is an index": lambda made: manifest(
        made, mediaType="application/vnd.oci.image.index.v1+json"
    ),
    "digest in upper case": lambda made: entry(made, digest=made.index["manifests"][0]["digest"].upper()),
    "digest with a new line": lambda made: entry(made, digest=made.index["manifests"][0]["digest"] + "\n"),
    "digest of other digits": lambda made: entry(made, digest="sha256:" + "\u0661" * 64),
    "size with a point": ambiguous(b'"size":2}', b'"size":2.0}', "manifest"),
    "size beyond all numbers": ambiguous(b'"size":2}', b'"size":1e400}', "manifest"),
    "half a character in a path": ambiguous(b'config.json"', b'config\\ud800.json"', "manifest"),
    "toml names the bytes of the other file": swapped,
    "toml has a key twice": lambda made: toml(made, b"schema = 1", b"schema = 1\nschema = 1"),
    "names that differ only in case": files("Config.json", "config.json"),
    "names that fold to the same": files("stra\u00dfe", "strasse"),
    "names that differ only in composition": files("caf\u00e9.json", "cafe\u0301.json"),
    "directories that differ only in case": files("A/x", "a/y"),
    "a file below a file": files("a", "a/b"),
    "a device with a superscript": files("COM\u00b9"),
    "a stream of a file": files("a:b"),
}


DAMAGED: dict[str, Callable[[Parts], Parts]] = {
    "blob was changed": lambda made: changed(made, BLOBS + MODEL, bytes(256 * 9)),
    "blob has one flipped bit": lambda made: changed(
        made, BLOBS + MODEL, b"\x01" + CONTENTS["onnx/model.onnx"][1:]
    ),
    "blob is another file": lambda made: changed(made, BLOBS + MODEL, CONTENTS["onnx/model.onnx"][1:] + b"x"),
}
"""Only reading the blobs shows what is wrong with these."""


def test_there_are_many_of_them() -> None:
    assert len(TARS) + len(DOCUMENTS) + len(DIRECTORIES) >= 60


def tree(root: Path) -> dict[str, bytes | None]:
    """Everything below a directory."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
        if not path.is_fifo()
    }


def refuse(path: Path, root: Path) -> ModelfetchError:
    """Read a bundle as an import does, and require that it is refused before anything is written."""
    before = tree(root)
    with pytest.raises(REFUSED) as caught:
        read(path)
    assert tree(root) == before
    assert caught.value.message.isprintable()
    return caught.value


@pytest.mark.quick(every=4)
@pytest.mark.parametrize("name", TARS)
def test_a_hostile_archive_is_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "b.tar"
    path.write_bytes(TARS[name]())
    refuse(path, tmp_path)
    assert main([str(path)]) == 5, "the verifier refuses it, too"
    capsys.readouterr()


@pytest.mark.quick(every=4)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_hostile_documents_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "b.tar"
    path.write_bytes(DOCUMENTS[name](parts()).tar())
    refuse(path, tmp_path)


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_blobs_are_not_imported(tmp_path: Path, name: str) -> None:
    path = tmp_path / "b.tar"
    path.write_bytes(DAMAGED[name](parts()).tar())
    cli = InProcess(tmp_path / "machine")
    before = tree(tmp_path)
    assert_fails(cli("bundle", "import", path), 5, "onnx/model.onnx")
    written = {place for place in tree(tmp_path) if place not in before}
    assert all(place.startswith("machine/cache") for place in written)
    for blob in cli.files("blobs"):
        assert digest(blob.read_bytes()) == blob.name, "only verified blobs are there"
    assert cli("path", "tiny").code == 3, "the model is neither present nor pinned"


@pytest.mark.parametrize("name", ["name parent", "kind symbolic link", "padding", "cut in a blob"])
def test_a_hostile_bundle_ends_the_command_with_one_clear_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "b.tar"
    path.write_bytes(TARS[name]())
    cli = InProcess(tmp_path / "machine")
    before = tree(tmp_path)
    assert_fails(cli("bundle", "import", path), 5, str(path))
    assert tree(tmp_path) == before, "nothing was written at all"


def unpack(made: Parts, root: Path) -> Path:
    """A bundle as a directory."""
    layout = root / "layout"
    (layout / "blobs" / "sha256").mkdir(parents=True)
    for name, data in made.members.items():
        (layout / name).write_bytes(data)
    return layout


def linked_file(layout: Path, name: str) -> None:
    (layout / name).rename(layout.parent / "elsewhere")
    (layout / name).symlink_to(layout.parent / "elsewhere")


def linked_directory(layout: Path, name: str) -> None:
    (layout / name).rename(layout.parent / "elsewhere")
    (layout / name).symlink_to(layout.parent / "elsewhere", target_is_directory=True)


def fifo(layout: Path, name: str) -> None:
    (layout / name).unlink()
    os.mkfifo(layout / name)


def directory(layout: Path, name: str) -> None:
    (layout / name).unlink()
    (layout / name).mkdir()


def written(layout: Path, name: str, data: bytes) -> None:
    (layout / name).write_bytes(data)


DIRECTORIES: dict[str, Callable[[Path], None]] = {
    "blobs is a link": lambda layout: linked_directory(layout, "blobs"),
    "sha256 is a link": lambda layout: linked_directory(layout, "blobs/sha256"),
    "a blob is a link": lambda layout: linked_file(layout, BLOBS + MODEL),
    "the index is a link": lambda layout: linked_file(layout, "index.json"),
    "the layout is a link": lambda layout: linked_file(layout, "oci-layout"),
    "a blob is a fifo": lambda layout: fifo(layout, BLOBS + MODEL),
    "the index is a fifo": lambda layout: fifo(layout, "index.json"),
    "a blob is a directory": lambda layout: directory(layout, BLOBS + MODEL),
    "the index is missing": lambda layout: (layout / "index.json").unlink(),
    "the index is too large": lambda layout: written(layout, "index.json", bytes(17 << 20)),
    "a blob is missing": lambda layout: (layout / BLOBS / MODEL).unlink(),
}


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("name", DIRECTORIES)
def test_a_hostile_directory_is_refused(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = unpack(parts(), tmp_path)
    DIRECTORIES[name](layout)
    refuse(layout, tmp_path)
    assert main([str(layout)]) == 5
    capsys.readouterr()


def test_the_good_bundle_of_these_tests_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b.tar").write_bytes(parts().tar())
    layout = unpack(parts(), tmp_path)
    (layout / "other.txt").write_text("other files are not read")
    for path in (tmp_path / "b.tar", layout):
        assert [model.manifest.name for model in read(path)] == ["tiny"]
        assert main([str(path)]) == 0
    assert "5 blobs verified" in capsys.readouterr().out


def test_archives_of_other_programs_are_taken(tmp_path: Path) -> None:
    """With directories, another order, a leading ./ and a record of zeros, as GNU tar writes them."""
    members = reversed(list(parts().members.items()))
    directories = b"".join(raw(name, b"5") for name in (b"./", b"./blobs/", b"./blobs/sha256/"))
    data = directories + archive((f"./{name}", data) for name, data in members) + bytes(8192)
    (tmp_path / "b.tar").write_bytes(data)
    assert len(read(tmp_path / "b.tar")) == 1


def test_a_missing_end_is_no_loss_but_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some programs write none; every blob that a manifest lists is there and verified."""
    (tmp_path / "b.tar").write_bytes(parts().tar()[: -len(END)])
    assert len(read(tmp_path / "b.tar")) == 1
    assert main([str(tmp_path / "b.tar")]) == 5
    assert "its end is missing" in capsys.readouterr().out


def test_a_message_does_not_control_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(TARS["name escape"]())
    assert "\x1b" not in refuse(tmp_path / "b.tar", tmp_path).message
    made = entry(parts(), annotations={"org.opencontainers.image.ref.name": "\x1b[2J"}, size=1)
    (tmp_path / "c.tar").write_bytes(made.tar())
    assert "\x1b" not in json.dumps(refuse(tmp_path / "c.tar", tmp_path).message, ensure_ascii=False)
