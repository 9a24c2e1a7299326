"""Fixtures of the store's tests: small models, and a run that uses a store like the engine does."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.store import Partial, Placed, Store
from modelfetch.store.dir_handles import HANDLES
from tests.origin.content import Content
from tests.patience import HELD

MIB = 1 << 20
WHEN = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)


REPOSITORY = Path(__file__).parents[2]


def run_child(program: str, *arguments: object) -> str:
    """Run a Python program in a child process; returns its output."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(
        command, check=False, timeout=HELD, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ).stdout


def start_child(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python program that prints ``ready``, and wait for that."""
    child = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def noise(size: int, seed: int = 1) -> bytes:
    """Random bytes that differ for each seed."""
    return Content.random(seed, size).data


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def spec(content: bytes, path: str = "weights.bin") -> FileSpec:
    return FileSpec(path, len(content), digest(content))


def model(contents: Mapping[str, bytes], name: str = "tiny", version: str = "v1") -> Manifest:
    return Manifest(name, version, tuple(spec(content, path) for path, content in contents.items()))


def obtain(
    store: Store, content: bytes, *, origin: str = "mirror a", exclusive: bool = True, displaced: str = ""
) -> Placed:
    """Resume the download of a file, and commit it."""
    with store.partial(spec(content), exclusive) as partial:
        while partial.length < len(content):
            partial.put(partial.length, content[partial.length : partial.length + 300_000], origin)
        return store.commit(partial, displaced_source=displaced)


def complete(partial: Partial, content: bytes, origin: str = "mirror a") -> int:
    """Fetch all missing bytes; returns how many were fetched."""
    fetched, found = 0, ""
    while found != digest(content):
        for start, end in partial.missing:
            for offset in range(start, end, 100_000):
                partial.put(offset, content[offset : min(offset + 100_000, end)], origin)
            fetched += end - start
        found = partial.digest()
    return fetched


def ensure(store: Store, contents: Mapping[str, bytes], name: str = "tiny", version: str = "v1") -> Manifest:
    """Do a run's work on the store: lock, check, download, place, write the receipt."""
    manifest = model(contents, name, version)
    with store.lock_model(name) as lock:
        lock.try_acquire()
        kept = store.kept(manifest, store.receipt(manifest))
        for file in manifest.files:
            if not kept[file.path]:
                _make_present(store, manifest, file, contents[file.path])
        missing = [path for path, is_kept in kept.items() if not is_kept]
        store.write_receipt(manifest, dict.fromkeys(missing, "mirror a"), dict.fromkeys(missing, WHEN))
    return manifest


def _make_present(store: Store, manifest: Manifest, file: FileSpec, content: bytes) -> None:
    with store.lock_blob(file.sha256) as lock:
        lock.try_acquire()
        blob = store.find_blob(file)
        if blob is None or digest(b"".join(store.read(blob))) != file.sha256:
            obtain(store, content, exclusive=lock.effective, displaced="cache")
        store.place(manifest, file, "cache")


def is_present(store: Store, manifest: Manifest, contents: Mapping[str, bytes]) -> bool:
    """Whether the receipt agrees and every file holds its bytes."""
    directory = store.directory(manifest)
    return all(store.kept(manifest, store.receipt(manifest)).values()) and all(
        (directory / path).read_bytes() == content for path, content in contents.items()
    )


def wrong_finals(root: Path, manifest: Manifest) -> list[Path]:
    """Final names whose bytes differ from their digest; there must never be one."""
    finals = {path: path.name for path in root.glob("blobs/sha256/??/*")}
    directory = root / "models" / manifest.name / manifest.version
    finals |= {directory / file.path: file.sha256 for file in manifest.files}
    return [path for path, sha256 in finals.items() if path.exists() and digest(path.read_bytes()) != sha256]


def leftovers(root: Path) -> list[str]:
    """Names that must be gone after a successful run."""
    unwanted = [*root.rglob(".mf-tmp-*"), *root.glob("partial/*")]
    return sorted(str(path.relative_to(root)) for path in unwanted)


def open_descriptors(below: Path = Path("/")) -> int:
    """Count open descriptors of what lies below a directory; 0 where the system does not list them.

    Threads that earlier tests left behind close theirs at any moment: sockets, and files elsewhere.
    """
    HANDLES.drop()  # a few directories stay open on purpose
    return descriptors_now(below)


def descriptors_now(below: Path) -> int:
    """Count open descriptors of what lies below a directory, directories that stay open on purpose too."""
    directory, count = Path("/proc/self/fd"), 0
    for name in os.listdir(directory) if directory.exists() else ():
        with suppress(FileNotFoundError):  # closed meanwhile
            count += Path(os.readlink(directory / name)).is_relative_to(below)
    return count
