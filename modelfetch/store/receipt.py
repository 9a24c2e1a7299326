"""The receipt of a model: what was verified, and the stamps of the files then. Pure: values and JSON.

A model is present when its receipt exists and agrees with the files. A receipt that is damaged, or of a newer
format, counts as absent: the model is then verified again and a new receipt is written. Example::

    {"format": 1, "name": "tiny", "version": "v1", "identity": "9c...",
    "files": [
     {"path": "model.onnx", "sha256": "3f...", "size": 5, "mtime_ns": 1, "inode": 2,
      "verified_at": "2026-11-20T06:00:00Z", "source": "mirror a"}],
    "consulted": [
     {"path": "/etc/modelfetch/catalog.json", "absent": true}]}

:func:`stamp_text` writes the file that lets :mod:`modelfetch.warm` answer without parsing the receipt.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from modelfetch.lazy_dataclass import dataclass, field
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.paths import why_bad_name, why_bad_version, why_unsafe
from modelfetch.model.units import SIZE_LIMIT, format_time, parse_time
from modelfetch.store.layout import is_digest
from modelfetch.warm import FORMAT as STAMP_FORMAT

FORMAT: Final = 1

_CID: Final = re.compile(r"b[a-z2-7]{1,110}")
"""A CID of version 1 in base 32, as it is written here."""

LIMIT: Final = 64 << 20
"""Bytes of the largest receipt read; 20,000 files, the most a manifest may have, need some 10 MB."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Size, mtime and inode of a file: enough to detect a change without reading the file."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        """Take the stamp from the status of a file."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass(frozen=True, slots=True)
class ReceiptFile:
    """One verified file."""

    path: str
    sha256: str
    stamp: Stamp
    verified_at: datetime
    source: str
    """Where its bytes came from: ``kind host``."""
    cid: str = ""
    """Its CID under the profile ``unixfs-v1-2025``, if it is larger than a chunk and has a chunk map."""


@dataclass(frozen=True, slots=True)
class Consulted:
    """A catalog or config file that determined what the model is."""

    path: Path
    """Absolute."""
    stamp: Stamp | None
    """None if the file did not exist; if it exists later, that is a change."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A complete and verified version of a model."""

    name: str
    version: str
    identity: str
    """Identity of its manifest."""
    files: tuple[ReceiptFile, ...]
    consulted: tuple[Consulted, ...] = ()
    label: str = field(default="", compare=False)
    """Name of its directory (:func:`modelfetch.store.layout.labels`). Taken from the receipt's own file name,
    not from its text."""

    @property
    def size(self) -> int:
        """Total size of the files in bytes."""
        return sum(file.stamp.size for file in self.files)

    def manifest(self) -> Manifest:
        """Return the manifest without sources, which is enough to verify a model that no catalog lists."""
        files = (FileSpec(file.path, file.stamp.size, file.sha256) for file in self.files)
        return Manifest(self.name, self.version, tuple(files))


def to_json(receipt: Receipt) -> bytes:
    """Format a receipt as JSON, in ASCII."""
    head = {
        "format": FORMAT,
        "name": receipt.name,
        "version": receipt.version,
        "identity": receipt.identity,
    }
    files = _lines(map(_file_to_json, receipt.files))
    consulted = _lines(map(_consulted_to_json, receipt.consulted))
    text = f'{json.dumps(head)[:-1]},\n"files": [{files}],\n"consulted": [{consulted}]}}\n'
    return text.encode("ascii")


def _lines(entries: Iterable[Mapping[str, object]]) -> str:
    """Format an array with one entry per line. With ``indent``, json would take ten times as long."""
    return ",".join(f"\n {json.dumps(entry)}" for entry in entries)


def _file_to_json(file: ReceiptFile) -> dict[str, object]:
    return {
        "path": file.path,
        "sha256": file.sha256,
        **_stamp_to_json(file.stamp),
        "verified_at": format_time(file.verified_at),
        "source": file.source,
        **({"cid": file.cid} if file.cid else {}),
    }


def _consulted_to_json(consulted: Consulted) -> dict[str, object]:
    stamp = consulted.stamp
    return {"path": str(consulted.path), **(_stamp_to_json(stamp) if stamp else {"absent": True})}


def _stamp_to_json(stamp: Stamp) -> dict[str, object]:
    return {"size": stamp.size, "mtime_ns": stamp.mtime_ns, "inode": stamp.inode}


def from_json(content: bytes) -> Receipt | None:
    """Read a receipt; None when it is damaged or of another format."""
    try:
        facts = json.loads(content)
        if _get(facts, "format", int) != FORMAT:
            return None
        receipt = _from_facts(facts)
        return receipt if _is_sound(receipt) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _from_facts(facts: Mapping[str, object]) -> Receipt:
    return Receipt(
        _get(facts, "name", str),
        _get(facts, "version", str),
        _get(facts, "identity", str),
        tuple(map(_file_from_json, _get(facts, "files", list))),
        tuple(map(_consulted_from_json, _get(facts, "consulted", list))),
    )


def _is_sound(receipt: Receipt) -> bool:
    """Whether all names are safe as paths, and the identity is that of the files."""
    return (
        not why_bad_name(receipt.name)
        and not why_bad_version(receipt.version)
        and not any(why_unsafe(file.path) for file in receipt.files)
        and all(is_digest(file.sha256) and 0 <= file.stamp.size < SIZE_LIMIT for file in receipt.files)
        and receipt.identity == receipt.manifest().identity
    )


def _file_from_json(facts: Mapping[str, object]) -> ReceiptFile:
    verified_at = parse_time(facts["verified_at"])
    path, sha256, source = (_get(facts, key, str) for key in ("path", "sha256", "source"))
    cid = _get(facts, "cid", str) if "cid" in facts else ""
    if cid and not _CID.fullmatch(cid):
        raise ValueError("cid is not a CID")
    return ReceiptFile(path, sha256, _stamp_from_json(facts), verified_at, source, cid)


def _consulted_from_json(facts: Mapping[str, object]) -> Consulted:
    absent = facts.get("absent") is True
    return Consulted(Path(_get(facts, "path", str)), None if absent else _stamp_from_json(facts))


def _stamp_from_json(facts: Mapping[str, object]) -> Stamp:
    return Stamp(_get(facts, "size", int), _get(facts, "mtime_ns", int), _get(facts, "inode", int))


def _get(facts: Any, key: str, kind: type[Any]) -> Any:
    """Return a value of exactly this type: ``isinstance`` would accept true as an integer."""
    value = facts[key]
    if type(value) is not kind:
        raise ValueError(f"{key} is not a {kind.__name__}")
    return value


def stamp_text(
    receipt: Receipt, receipt_stamp: Stamp, consulted: Sequence[Consulted], circumstances: Sequence[str]
) -> bytes | None:
    """Format the stamp file for :mod:`modelfetch.warm`; it reads the rest from the receipt itself.

    Args:
        receipt: The receipt.
        receipt_stamp: Stamp of the receipt's file.
        consulted: Catalog and config files that this run read.
        circumstances: :func:`modelfetch.warm.circumstances` of this run.

    Returns:
        The text; None if a path contains a line break, which the line format cannot hold.
    """
    lines = [
        STAMP_FORMAT,
        f"receipt {_stamp_fields(receipt_stamp)} {receipt.label}",
        *circumstances,
        *map(_consulted, consulted),
        "end",
    ]
    if any("\n" in line or "\r" in line for line in lines):
        return None
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _consulted(found: Consulted) -> str:
    return (
        f"absent - {found.path}" if found.stamp is None else f"read {_stamp_fields(found.stamp)} {found.path}"
    )


def _stamp_fields(stamp: Stamp) -> str:
    """Format a stamp like :func:`modelfetch.warm.stamp_of`."""
    return f"{stamp.size}-{stamp.mtime_ns}-{stamp.inode}"
