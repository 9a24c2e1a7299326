"""What other processes fetch into this cache: read from the notes that they leave for those who wait."""

from __future__ import annotations

import os
from typing import Any

from modelfetch.errors import ManifestError
from modelfetch.workspace import Workspace


def elsewhere(workspace: Workspace) -> dict[str, Any]:
    """Every model that another process works on, with how far it is; by name."""
    return {"runs": [found for name in _noted(workspace) if (found := _run(workspace, name)) is not None]}


def _noted(workspace: Workspace) -> list[str]:
    """The models with a note; nearly always there is none, however many models there are."""
    try:
        names = set(os.listdir(workspace.store.root / "locks"))  # noqa: PTH208 - of thousands, names will do
    except OSError:
        return []
    return [name for name in workspace.catalog.names() if f"model-{name}.lock.holder" in names]


def _run(workspace: Workspace, name: str) -> dict[str, Any] | None:
    lock = workspace.store.lock_model(name)
    pid = lock.holder_pid()
    if pid is None or pid == os.getpid():  # gone, or a job of this server
        return None
    received, size = lock.progress()
    return {
        "model": name,
        "title": _title(workspace, name),
        "holder": lock.holder(),
        "received": min(received, size),
        "size": size,
    }


def _title(workspace: Workspace, name: str) -> str:
    try:
        return workspace.catalog.get(name).title
    except ManifestError:
        return ""
