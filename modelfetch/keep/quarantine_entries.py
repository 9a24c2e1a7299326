"""Quarantine entries of the command line and the server: finding one by its id, describing it as JSON.

The id of an entry is the digest in the name of its directory: the expected one, or that of the data if no
manifest lists the file. Command line and server accept the start of an id, and report the same document::

    {"id": "3f...", "at": "2026-11-20T06:00:00Z", "size": 574, "expected": "3f...", "actual": "a0...",
     "source": "mirror a", "file": "model.onnx", "path": "/cache/blobs/3f/3f...",
     "directory": "/cache/quarantine/20261120T060000.000000Z-3f..."}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from modelfetch.model.units import format_time

if TYPE_CHECKING:
    from modelfetch.store.evidence import Evidence


def matching(entries: Iterable[Evidence], word: str) -> Sequence[Evidence]:
    """Return the entries whose id starts with a word, or whose directory has exactly this name."""
    return [entry for entry in entries if word and (entry.digest.startswith(word) or entry.key == word)]


def time_text(entry: Evidence) -> str:
    """Format the time of an entry."""
    return format_time(datetime.fromtimestamp(entry.at, UTC))


def entry_document(entry: Evidence) -> dict[str, Any]:
    """Describe an entry as JSON."""
    return {
        "id": entry.digest,
        "at": time_text(entry),
        "size": entry.size,
        "expected": entry.expected,
        "actual": entry.actual,
        "source": entry.source,
        "file": entry.file,
        "path": entry.path,
        "directory": str(entry.directory),
    }
