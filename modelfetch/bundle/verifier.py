"""Reads bundles of models and checks every byte. Only the standard library is used.

This module is also the program ``verify.py`` that ``modelfetch bundle create --with-verifier`` puts into a
bundle. It runs on a machine without modelfetch, and without packages of that machine::

    tar -xf models.tar verify.py
    python3 -I -S verify.py models.tar

A bundle is an OCI image layout in an uncompressed tar, in volumes ``FILE.001``, ``FILE.002`` and so on, or
unpacked in a directory. Of a tar, regular members of these names are read, and any other one is an error::

    oci-layout    index.json    verify.py    blobs/sha256/<64 hexadecimal digits>

A blob is a file of a model. In a bundle of container images (``bundle create --form image``) it is a layer:
an archive of that file alone, whose bytes begin at offset 512 of the blob::

    header of models/<path>    data of the file    padding    two zero blocks

Nothing is unpacked, so no name in a bundle ever becomes a path on disk. Exit codes: 0 if everything is right,
5 if something is not, 2 if the call is wrong.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Union

BLOCK = 512
"""Bytes of a header; data is padded to a multiple of it (POSIX.1-2017, pax, ustar interchange format)."""
PIECE = 1 << 20
"""Bytes per read."""
DOCUMENT_LIMIT = 16 << 20
"""Largest JSON document, in bytes: 20,000 layers with long paths have 14 MB. Registries often take 4 MiB."""
MEMBERS_LIMIT = 200_000
"""Most members: ten models of the largest allowed number of files."""
TRAILER_LIMIT = 1 << 20
"""Most zero bytes after the end of the archive; tar programs write up to one record of them."""
_SIZE_LIMIT = 2**63
USTAR_LIMIT = 8**11
"""First size that does not fit into the eleven octal digits of the field of a header."""
END_SIZE = 2 * BLOCK
"""Bytes of the two zero blocks that end an archive."""

IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar"
"""Media type of a layer of an image that is not compressed (image-spec, layer.md)."""
IMAGE_DIRECTORY = "models/"
"""Directory of the files in an image; KServe looks for this one."""
FILE_MODE = 0o644
PROGRAM_MODE = 0o755
"""Mode of an executable file in an image."""

BLOBS = "blobs/sha256/"
_NAME = re.compile(r"oci-layout|index\.json|verify\.py|blobs/sha256/[0-9a-f]{64}")
_DIRECTORIES = frozenset({".", "blobs", "blobs/sha256"})
"""Members that may be directories, as in the archives of other programs; they are passed over."""
_SMALL = {"oci-layout": 4096, "index.json": DOCUMENT_LIMIT, "verify.py": 1 << 20}
"""Largest size of members that are no blobs, in bytes."""
_MAGIC = frozenset({b"ustar\x0000", b"ustar  \0"})
"""Magic and version: of POSIX, and of GNU tar."""
_HEX = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_OCTAL = re.compile(rb" *([0-7]{1,12})[ \0]*")
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # opening a pipe or a device must not block
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class BundleError(Exception):
    """A bundle is malformed; the text says how."""


class NotABundleError(BundleError):
    """A path is not a bundle at all."""


class Member(NamedTuple):
    """A regular member of a tar."""

    name: str
    size: int
    start: int
    """Position of its first byte in the archive."""


class Expected(NamedTuple):
    """A blob that a document of the bundle lists."""

    sha256: str
    size: int
    label: str
    """What it is, for messages."""
    path: str = ""
    """Path of the file in it, if it is a layer of an image."""
    file_sha256: str = ""
    """Digest of that file, as the document states it."""


class LayerFile(NamedTuple):
    """What was read of a blob that begins like a layer of an image."""

    header: bytes
    sha256: str
    """Digest of the file in it."""
    is_alone: bool
    """Whether only zeros follow the file."""


class TarBundle:
    """A bundle in a tar, which may be split into volumes. Only headers are read when it is opened.

    Attributes:
        blobs: Sizes of the blobs in bytes, by their names, which are SHA-256 in hexadecimal.
        is_cut: Whether the archive ends early, so that members are missing.
        members: By name.

    Args:
        paths: The files, in order.
        members: Those of the same bundle, from an earlier opening: then the headers are not read again.

    Raises:
        BundleError: A member is malformed, or must not be there.
        OSError: A file cannot be read.
    """

    def __init__(self, paths: list[Path], members: Mapping[str, Member] | None = None) -> None:
        self.is_cut = False
        self._paths = paths
        self._starts: list[int] = []
        """Position of the first byte of each volume in the archive."""
        self._size = 0
        self._current = -1
        self._file: BinaryIO = io.BytesIO()
        try:
            for number in range(len(paths)):
                self._starts.append(self._size)
                self._size += self._open(number)
            found = {member.name: member for member in self._scan()} if members is None else members
        except BaseException:
            self.close()
            raise
        self.members = found
        self.blobs = {
            name[len(BLOBS) :]: member.size for name, member in found.items() if name.startswith(BLOBS)
        }

    def close(self) -> None:
        """Close the file that is open."""
        self._file.close()

    def pieces(self, name: str, offset: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of a member, or of a part of it.

        Raises:
            BundleError: There is no such member, or the file became shorter.
            OSError: A file cannot be read.
        """
        member = self.members.get(name)
        if member is None:
            raise BundleError(f"{name} is missing")
        end = member.size if end is None else min(end, member.size)
        for position in range(offset, end, PIECE):
            yield self._exactly(member.start + position, min(PIECE, end - position))

    def _scan(self) -> Iterator[Member]:
        """Read all headers; stop at the end of the archive, or where it is cut."""
        position = 0
        seen: set[str] = set()
        while block := self._header(position):
            member = parse_header(block, position)
            end = position + BLOCK + member.size
            position = end + -member.size % BLOCK
            if position > self._size:
                self.is_cut = True
                return
            if self._exactly(end, position - end).strip(b"\0"):
                raise BundleError(f"{member.name}: its padding is not empty")
            if member.name in seen:
                raise BundleError(f"{member.name} occurs twice")
            if len(seen) >= MEMBERS_LIMIT:
                raise BundleError(f"it has more than {MEMBERS_LIMIT} members")
            seen.add(member.name)
            if member.name not in _DIRECTORIES:
                yield member

    def _header(self, position: int) -> bytes:
        """Read the header at a position; empty at the end of the archive."""
        if position + BLOCK > self._size:
            self.is_cut = True
            return b""
        block = self._exactly(position, BLOCK)
        if block.strip(b"\0"):
            return block
        self._check_end(position)
        return b""

    def _check_end(self, position: int) -> None:
        """Require two zero blocks, and behind them nothing but zeros."""
        self.is_cut = self._size - position < 2 * BLOCK
        if self._size - position > TRAILER_LIMIT:
            raise BundleError("it has data after the end of the archive")
        if self._exactly(position, self._size - position).strip(b"\0"):
            raise BundleError("it has data after the end of the archive")

    def _exactly(self, offset: int, size: int) -> bytes:
        """Read a range, which may cross the border of volumes."""
        found = b""
        while len(found) < size:
            position = offset + len(found)
            number = bisect_right(self._starts, position) - 1
            end = (*self._starts[number + 1 : number + 2], self._size)[0]
            if number != self._current:
                self._open(number)
            self._file.seek(position - self._starts[number])
            piece = self._file.read(max(0, min(size - len(found), end - position)))
            if not piece:
                raise BundleError("the file became shorter while it was read")
            found += piece
        return found

    def _open(self, number: int) -> int:
        """Open a volume and return its size; close the one before.

        Only one is open at a time: there may be 999, and several streams, but a process may often open no
        more than 1024 files.
        """
        self._file.close()
        try:
            self._file, size = open_regular(self._paths[number], follow=True)
        except FileNotFoundError:
            if self._current < 0:
                raise
            raise BundleError(f"{self._paths[number].name} is missing") from None
        self._current = number
        return size


class DirectoryBundle:
    """A bundle that was unpacked into a directory. Other files in it are not read.

    Attributes:
        blobs: As for :class:`TarBundle`.
        is_cut: Always False.

    Raises:
        BundleError: A directory is a link, or is missing.
        OSError: A directory cannot be read.
    """

    is_cut = False

    def __init__(self, path: Path) -> None:
        self._root = path
        self.blobs: dict[str, int] = {}
        for directory in (path / "blobs", path / "blobs" / "sha256"):
            if directory.is_symlink() or not directory.is_dir():
                raise NotABundleError("is not an OCI image layout: it has no directory blobs/sha256")
        with os.scandir(path / "blobs" / "sha256") as entries:
            for entry in entries:
                if _HEX.fullmatch(entry.name):
                    if not entry.is_file(follow_symlinks=False):
                        raise BundleError(f"{BLOBS}{entry.name} is not a regular file")
                    self.blobs[entry.name] = entry.stat(follow_symlinks=False).st_size
                if len(self.blobs) > MEMBERS_LIMIT:
                    raise BundleError(f"it has more than {MEMBERS_LIMIT} blobs")

    def close(self) -> None:
        """Do nothing: each file is closed once it was read."""

    def pieces(self, name: str, offset: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of a file, or of a part of it; see :meth:`TarBundle.pieces`."""
        try:
            file, size = open_regular(self._root / name)
        except FileNotFoundError:
            raise BundleError(f"{name} is missing") from None
        with file:
            if size > _SMALL.get(name, self.blobs.get(name[len(BLOBS) :], 0)):
                raise BundleError(f"{name} is too large")
            file.seek(offset)
            left = (size if end is None else min(end, size)) - offset
            while left > 0 and (piece := file.read(min(PIECE, left))):
                left -= len(piece)
                yield piece
            if end is None and file.read(1):
                raise BundleError(f"{name} became longer while it was read")


Bundle = Union[TarBundle, DirectoryBundle]  # noqa: UP007 - runs on older interpreters, too


def build_header(name: str, size: int, mode: int = FILE_MODE) -> bytes:
    """Make the header of a regular member. All of its metadata but the mode is fixed.

    Args:
        name: Its name. One of more than 100 bytes is divided at a slash, into two fields.
        size: Its size in bytes.
        mode: Its permissions.

    Raises:
        ValueError: The name is too long, or is not Unicode.
    """
    prefix, raw = _divided(name.encode())
    is_large = size >= USTAR_LIMIT
    if is_large and prefix:
        # Headers of GNU tar have times where those of USTAR have the first part of a name.
        raise ValueError("a name of more than 100 bytes and a size of 8 GiB or more do not fit into a header")
    block = bytearray(BLOCK)
    block[: len(raw)] = raw
    block[100:108] = b"%07o\0" % mode
    block[108:116] = block[116:124] = b"%07o\0" % 0
    block[124:136] = b"\x80" + size.to_bytes(11, "big") if is_large else b"%011o\0" % size
    block[136:148] = b"%011o\0" % 0
    block[156:157] = b"0"
    # Base-256 is an extension of GNU tar, whose magic says so; USTAR has another one and a version.
    block[257:265] = b"ustar  \0" if is_large else b"ustar\x0000"
    block[345 : 345 + len(prefix)] = prefix
    # The checksum counts its own field as eight spaces.
    block[148:156] = b"%06o\0 " % (sum(block) + 8 * ord(" "))
    return bytes(block)


def _divided(name: bytes) -> tuple[bytes, bytes]:
    """Return the two parts of a name, of at most 155 and 100 bytes; the slash between them is left out.

    Raises:
        ValueError: There are none.
    """
    if len(name) <= 100:
        return b"", name
    slash = name.find(b"/", len(name) - 101)
    if not 0 < slash <= 155 or slash == len(name) - 1:
        raise ValueError("the name does not fit into a header: it has more than 100 bytes without a slash")
    return name[:slash], name[slash + 1 :]


def layer_size(size: int) -> int:
    """Return the size of the layer of an image with a file of this size."""
    return BLOCK + size + -size % BLOCK + END_SIZE


def check_layer(header: bytes, path: str, blob_size: int) -> int:
    """Check the header of a layer of an image, which must be as ``bundle create`` writes it.

    Args:
        header: The first 512 bytes of the layer.
        path: The path of the file that must be in it.
        blob_size: Size of the layer in bytes.

    Returns:
        The size of the file.

    Raises:
        BundleError: It is another archive.
    """
    try:
        size = _number(header[124:136])
        known = [build_header(IMAGE_DIRECTORY + path, size, mode) for mode in (FILE_MODE, PROGRAM_MODE)]
    except (BundleError, ValueError):
        known, size = [], 0
    if header not in known or blob_size != layer_size(size):
        # Cut: no header has a longer path, but the document that states it may have one of megabytes.
        raise BundleError(f"the layer of {path[:255]} is not an archive of that file alone")
    return size


def parse_header(block: bytes, position: int = 0) -> Member:
    """Parse the header of a member.

    Args:
        block: Its 512 bytes.
        position: Its place in the archive.

    Raises:
        BundleError: It is malformed, or the member must not be in a bundle.
    """
    if block[257:265] not in _MAGIC:
        raise BundleError(f"there is no header of a tar at byte {position}")
    if _number(block[148:156]) != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise BundleError(f"the checksum of the header at byte {position} is wrong")
    raw, _, rest = block[:100].partition(b"\0")
    shown = repr(raw.decode("ascii", "backslashreplace"))
    if rest.strip(b"\0") or block[345:500].strip(b"\0"):
        raise BundleError(f"the name of member {shown} has a second part")
    name = raw.decode("ascii", "replace")
    name = name[2:] or "." if name.startswith("./") else name
    size = _number(block[124:136])
    if why := _why_not_allowed(name, block[156:157], size, has_target=bool(block[157:257].strip(b"\0"))):
        raise BundleError(f"member {shown} {why}")
    return Member(name[:-1] if name.endswith("/") else name, size, position + BLOCK)


def _why_not_allowed(name: str, kind: bytes, size: int, *, has_target: bool) -> str:
    """Return why a member must not be in a bundle, as a clause; empty if it may be."""
    if kind == b"5" and (name[:-1] if name.endswith("/") else name) in _DIRECTORIES and not size:
        return ""
    if kind not in (b"0", b"\0") or has_target:
        return "is not a regular file"
    if not _NAME.fullmatch(name):
        return "does not belong in a bundle"
    return "is too large" if size > _SMALL.get(name, size) else ""


def _number(field: bytes) -> int:
    """Decode a number: octal digits or, for sizes from 8 GiB on, base-256 as GNU tar writes it.

    Raises:
        BundleError: It is neither, is negative, or has more than 63 bits.
    """
    if field[0] & 0x80:
        value = int.from_bytes(field[1:], "big")
        if field[0] != 0x80 or value >= _SIZE_LIMIT:
            raise BundleError("the header of a member has a number out of range")
        return value
    found = _OCTAL.fullmatch(field)
    if not found:
        raise BundleError("the header of a member has a malformed number")
    return int(found[1], 8)


def open_regular(path: Path, *, follow: bool = False) -> tuple[BinaryIO, int]:
    """Open a regular file without blocking.

    Args:
        path: The file.
        follow: Whether the path may be a link, as one that a person named.

    Returns:
        The file, and its size in bytes.

    Raises:
        BundleError: It is something else.
        OSError: It cannot be opened.
    """
    if not follow and path.is_symlink():  # not every system has O_NOFOLLOW
        raise BundleError(f"{path.name} is a link")
    fd = os.open(path, _FLAGS & ~getattr(os, "O_NOFOLLOW", 0) if follow else _FLAGS)
    file = os.fdopen(fd, "rb", buffering=0)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        file.close()
        raise BundleError(f"{path.name} is not a regular file")
    return file, found.st_size


def open_bundle(path: Path) -> Bundle:
    """Open a bundle: a tar, the name or first volume of a split one, or a directory.

    Raises:
        BundleError: It is not a bundle, or malformed.
        OSError: It cannot be read.
    """
    if path.is_dir():
        return DirectoryBundle(path)
    paths = volumes_of(path)
    if not paths[0].exists() and (missing := _missing_volume(paths[0], 0)):
        raise BundleError(f"{missing} is missing")
    with open_regular(paths[0], follow=True)[0] as file:
        start = file.read(BLOCK)
    if start[:2] == b"\x1f\x8b" or start[:4] == b"\x28\xb5\x2f\xfd" or start[:3] in (b"BZh", b"\xfd7z"):
        raise NotABundleError("is compressed; unpack it first, as with gunzip")
    if start[257:265] not in _MAGIC:
        raise NotABundleError("is not a bundle: it has no tar header")
    bundle = TarBundle(paths)
    is_split = paths[0].suffix == ".001"
    if bundle.is_cut and is_split and (missing := _missing_volume(paths[0].with_suffix(""), len(paths))):
        bundle.close()
        raise BundleError(f"{missing} is missing")
    return bundle


def volumes_of(path: Path) -> list[Path]:
    """Return the files of a bundle: the file itself, or its volumes in order, up to the first missing one."""
    is_first = path.suffix == ".001"
    if path.exists() and not is_first:
        return [path]
    base = path.with_suffix("") if is_first else path
    found: list[Path] = []
    while (volume := base.with_name(f"{base.name}.{len(found) + 1:03}")).exists():
        found.append(volume)
    return found or [path]


def _missing_volume(base: Path, number: int) -> str:
    """Return the name of the volume after this number if it is missing and a later one exists."""
    later = (base.with_name(f"{base.name}.{each:03}") for each in range(number + 2, 1000))
    return f"{base.name}.{number + 1:03}" if any(each.exists() for each in later) else ""


def read_document(bundle: Bundle, name: str) -> Mapping[str, Any]:
    """Read a JSON object.

    Raises:
        BundleError: It is missing, too large, not a JSON object, or ambiguous.
        OSError: It cannot be read.
    """
    content = b""
    for piece in bundle.pieces(name):
        content += piece
        if len(content) > DOCUMENT_LIMIT:
            raise BundleError(f"{name} is larger than {DOCUMENT_LIMIT} bytes")
    return parse_document(content, name)


def parse_document(content: bytes, name: str) -> Mapping[str, Any]:
    """Parse a JSON object.

    What two programs could read differently is refused: another program may copy a bundle that this one
    checked. So it must be UTF-8 without a byte order mark (RFC 8259, 8.1), without NaN or Infinity (6), and
    without a key that occurs twice (4). It must not be an index and a manifest at once: which of the two it
    is would depend on the reader (CVE-2021-41190; OCI image specification 1.1).

    Raises:
        BundleError: It is something else, or ambiguous.
    """
    try:
        # From bytes, it would take UTF-16 and UTF-32, too.
        document = json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except BundleError as fault:
        raise BundleError(f"{name} {fault}") from None
    except (ValueError, RecursionError):
        raise BundleError(f"{name} is not JSON") from None
    if not isinstance(document, dict):
        raise BundleError(f"{name} is not a JSON object")
    is_index, media_type = "manifests" in document, str(document.get("mediaType", ""))
    is_both = is_index and ("layers" in document or "config" in document)
    if is_both or media_type.endswith(".manifest.v1+json" if is_index else ".index.v1+json"):
        raise BundleError(f"{name} is both an index and a manifest")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object, whose keys must differ: of two values, programs take the first or the last."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BundleError("has a key twice")
    return found


def _no_constant(word: str) -> Any:
    """Refuse ``NaN`` and ``Infinity``, which Python reads and JSON does not have."""
    raise ValueError(word)


def check_layout(bundle: Bundle) -> None:
    """Check ``oci-layout``.

    Raises:
        BundleError: It is missing, or names another version than 1.0.0.
        OSError: It cannot be read.
    """
    if read_document(bundle, "oci-layout").get("imageLayoutVersion") != "1.0.0":
        raise BundleError("oci-layout does not name version 1.0.0")


def check(bundle: Bundle, progress: Callable[[str, int], None] = lambda *_: None) -> list[str]:
    """Hash every blob, and compare what the documents list with what is there.

    Args:
        bundle: The bundle.
        progress: Called with the name of a blob and the number of bytes that were hashed of it.

    Returns:
        A line for each fault; none if everything is right.

    Raises:
        OSError: The disk refused.
    """
    faults = ["the bundle is cut off: its end is missing"] if bundle.is_cut else []
    hashed = {sha256: _hash(bundle, sha256, progress) for sha256 in sorted(bundle.blobs)}
    wrong = {sha256 for sha256, (found, _) in hashed.items() if found != sha256}
    expected: dict[str, Expected] = {}
    try:
        for each in _expected(bundle, wrong):
            known = expected.setdefault(each.sha256, each)
            if bundle.blobs.get(each.sha256) is None:
                faults.append(f"{each.label}: blob {each.sha256} is missing")
            elif bundle.blobs[each.sha256] != each.size:
                faults.append(f"{known.label}: blob {each.sha256} does not have {each.size} bytes")
            elif not (each.sha256 in wrong or _is_layer(each, hashed[each.sha256][1])):
                faults.append(f"{each.label}: layer {each.sha256} is not an archive of that file alone")
    except BundleError as fault:
        faults.append(str(fault))
    labels = {sha256: each.label for sha256, each in expected.items()}
    return faults + [f"{labels.get(each, 'a blob')}: blob {each} has other bytes" for each in sorted(wrong)]


def _hash(bundle: Bundle, sha256: str, progress: Callable[[str, int], None]) -> tuple[str, LayerFile | None]:
    """Return the digest of a blob and, if it begins like a layer of an image, that of the file in it.

    Both are made from one reading: a bundle may be larger than the memory.
    """
    hasher, file, done = hashlib.sha256(), hashlib.sha256(), 0
    header, end, is_alone = b"", 0, True
    for piece in bundle.pieces(BLOBS + sha256):
        if not done and piece[257:265] in _MAGIC:
            header, end = piece[:BLOCK], _end_of_file(piece)
        hasher.update(piece)
        if header:
            file.update(memoryview(piece)[max(0, BLOCK - done) : max(0, end - done)])
            is_alone = is_alone and not piece[max(0, end - done) :].strip(b"\0")
        done += len(piece)
        progress(sha256, done)
    return hasher.hexdigest(), LayerFile(header, file.hexdigest(), is_alone) if header else None


def _end_of_file(header: bytes) -> int:
    """Return where the data of a member at the start of a blob ends; its header may be malformed."""
    try:
        return BLOCK + _number(header[124:136])
    except BundleError:
        return BLOCK


def _is_layer(expected: Expected, found: LayerFile | None) -> bool:
    """Whether a layer of an image has the file that a document states, and nothing else."""
    if not expected.path:
        return True  # it is a file itself
    if found is None or not found.is_alone or found.sha256 != expected.file_sha256:
        return False
    try:
        check_layer(found.header, expected.path, expected.size)
    except BundleError:
        return False
    return True


def _expected(bundle: Bundle, wrong: set[str]) -> Iterator[Expected]:
    """Yield every blob that the index and the manifests list.

    Raises:
        BundleError: A document is malformed.
    """
    check_layout(bundle)
    seen: set[str] = set()
    for entry in _list(read_document(bundle, "index.json"), "manifests", "index.json"):
        model = _annotation(entry, "org.opencontainers.image.ref.name") or "a model"
        manifest = _descriptor(entry, f"the manifest of {model}")
        yield manifest
        # Once each: an index can name a manifest of many layers a hundred thousand times.
        is_known = manifest.sha256 in seen or manifest.sha256 in wrong
        if is_known or bundle.blobs.get(manifest.sha256) != manifest.size:
            continue
        seen.add(manifest.sha256)
        document = read_document(bundle, BLOBS + manifest.sha256)
        yield _descriptor(document.get("config"), f"the config of {model}")
        for layer in _list(document, "layers", manifest.label):
            path = _annotation(layer, "org.cncf.model.filepath") or "a file"
            stated = _descriptor(layer, f"{path} of {model}")
            if isinstance(layer, dict) and layer.get("mediaType") == IMAGE_LAYER:
                if not (file_path := _text(layer, "org.cncf.model.filepath")):
                    raise BundleError(f"{manifest.label} has a layer without the path of its file")
                stated = stated._replace(path=file_path, file_sha256=_text(layer, "io.modelfetch.sha256"))
            yield stated


def _list(document: Mapping[str, Any], key: str, where: str) -> list[Any]:
    found = document.get(key)
    if not isinstance(found, list):
        raise BundleError(f"{where}: {key} is not a list")
    return found


def _descriptor(item: Any, label: str) -> Expected:
    fields = item if isinstance(item, dict) else {}
    digest = _DIGEST.fullmatch(str(fields.get("digest")))
    size = fields.get("size")
    if not digest or not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _SIZE_LIMIT:
        raise BundleError(f"{label}: its descriptor is malformed")
    return Expected(digest[1], size, label)


def _annotation(item: Any, key: str) -> str:
    """Return an annotation for display."""
    return _printable(_text(item, key))[:200]


def _text(item: Any, key: str) -> str:
    """Return an annotation as it is; empty if it is not a text."""
    annotations = item.get("annotations") if isinstance(item, dict) else None
    value = annotations.get(key) if isinstance(annotations, dict) else None
    return value if isinstance(value, str) else ""


def _printable(text: str) -> str:
    """Drop what could control a terminal: a bundle may come from anybody."""
    return "".join(character for character in text if character.isprintable())


def main(arguments: list[str]) -> int:
    """Check the bundle that the only argument names, and print the result.

    Returns:
        The exit code.
    """
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python3 -I -S verify.py FILE|DIR", file=sys.stderr)
        return 2
    try:
        with closing(open_bundle(Path(arguments[0]))) as bundle:
            faults = check(bundle)
    except (BundleError, OSError) as error:
        print(f"error: {_printable(arguments[0])}: {_printable(str(error))}", file=sys.stderr)
        return 5
    for fault in faults:
        print(_printable(fault))
    if not faults:
        print(f"{len(bundle.blobs)} blobs verified, {sum(bundle.blobs.values())} bytes")
    return 5 if faults else 0


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path in a bundle may have characters that the encoding of the terminal lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))
