"""The receipt of a model: what was verified, and what the files looked like then. Pure: values and JSON.

A model is there when its receipt is there and agrees with the files. Text that is damaged, or of a newer
format, is as good as no receipt: the model is then verified again and a new receipt written.

The stamp behind the warm answer: which receipt speaks of a model, and what decided that. Pure.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.paths import why_bad_name, why_bad_version, why_unsafe
from modelfetch.model.units import SIZE_LIMIT, parse_time
from modelfetch.store.layout import is_digest
from modelfetch.warm import FORMAT as STAMP_FORMAT

FORMAT: Final = 1

LIMIT: Final = 64 << 20
"""Bytes of the largest receipt read; 20,000 files, the most a manifest may have, take some 10 MB."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file looked like: enough to see that it was changed, without reading it."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        """Take the stamp from a look at the file."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass(frozen=True, slots=True)
class ReceiptFile:
    """One verified file."""

    path: str
    sha256: str
    stamp: Stamp
    verified_at: datetime
    source: str
    """Who supplied it: ``kind host``."""


@dataclass(frozen=True, slots=True)
class Consulted:
    """A catalog or config file that had a say in what the model is."""

    path: Path
    """Absolute."""
    stamp: Stamp | None
    """None when there was no such file; then one that appears is a change."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is present and verified of one version of a model: all of it."""

    name: str
    version: str
    identity: str
    """Of the manifest."""
    files: tuple[ReceiptFile, ...]
    consulted: tuple[Consulted, ...] = ()
    label: str = field(default="", compare=False)
    """Name of its directory (:func:`modelfetch.store.layout.labels`): that of its file, not in its text."""

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.stamp.size for file in self.files)

    def manifest(self) -> Manifest:
        """Say what the model is, without its sources: enough to verify it when no catalog knows it."""
        files = (FileSpec(file.path, file.stamp.size, file.sha256) for file in self.files)
        return Manifest(self.name, self.version, tuple(files))


def to_json(receipt: Receipt) -> bytes:
    """Write a receipt as JSON, ASCII only."""
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
    """Write the entries of an array, each on a line. With an indent, json would take ten times as long."""
    return ",".join(f"\n {json.dumps(entry)}" for entry in entries)


def _file_to_json(file: ReceiptFile) -> dict[str, object]:
    verified_at = file.verified_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "path": file.path,
        "sha256": file.sha256,
        **_stamp_to_json(file.stamp),
        "verified_at": verified_at,
        "source": file.source,
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
    """Whether the names may become paths, and the files are those that the identity stands for."""
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
    return ReceiptFile(path, sha256, _stamp_from_json(facts), verified_at, source)


def _consulted_from_json(facts: Mapping[str, object]) -> Consulted:
    absent = facts.get("absent") is True
    return Consulted(Path(_get(facts, "path", str)), None if absent else _stamp_from_json(facts))


def _stamp_from_json(facts: Mapping[str, object]) -> Stamp:
    return Stamp(_get(facts, "size", int), _get(facts, "mtime_ns", int), _get(facts, "inode", int))


def _get(facts: Any, key: str, kind: type[Any]) -> Any:
    """Take a value of exactly one type, so that true is no number."""
    value = facts[key]
    if type(value) is not kind:
        raise ValueError(f"{key} is not a {kind.__name__}")
    return value


def stamp_text(
    receipt: Receipt, look: Stamp, consulted: Sequence[Consulted], circumstances: Sequence[str]
) -> bytes | None:
    """Note everything :mod:`modelfetch.warm` relies on; it reads the rest from the receipt itself.

    Args:
        receipt: The receipt.
        look: What its file looks like.
        consulted: Catalog and config files that had a say.
        circumstances: :func:`modelfetch.warm.circumstances` of this run.

    Returns:
        The text, or None where a path has a line break in it, which the form cannot hold.
    """
    lines = [
        STAMP_FORMAT,
        f"receipt {_look(look)} {receipt.label}",
        *circumstances,
        *map(_consulted, consulted),
        "end",
    ]
    if any("\n" in line or "\r" in line for line in lines):
        return None
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _consulted(found: Consulted) -> str:
    return f"absent - {found.path}" if found.stamp is None else f"read {_look(found.stamp)} {found.path}"


def _look(stamp: Stamp) -> str:
    """What :func:`modelfetch.warm.stamp_of` gives for a file that looks like this."""
    return f"{stamp.size}-{stamp.mtime_ns}-{stamp.inode}"
