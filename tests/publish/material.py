"""A machine that has a small model of several blocks."""

from __future__ import annotations

import hashlib
import random
from functools import cache
from pathlib import Path

from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.parse import load_manifest
from modelfetch.model.write import manifest_toml
from tests.e2e.command import InProcess

MIB = 1 << 20
BIG = random.Random(7).randbytes(4 * MIB + 5)
"""Five chunks."""
FILES = {"big.bin": BIG, "sub/config.json": b"{}", "empty.txt": b""}
DATA = BIG[:300]
SMALL = FILES | {"big.bin": DATA}
"""The same model for tests that do not count chunks; hashing and sending five takes most of a command."""


@cache
def digest(data: bytes) -> str:
    """The SHA-256 of a content in hexadecimal; cached, because every test needs that of the large file."""
    return hashlib.sha256(data).hexdigest()


def place(cli: InProcess, name: str = "tiny", files: dict[str, bytes] = FILES) -> Manifest:
    """Make a model present, without a run."""
    specs = tuple(FileSpec(path, len(data), digest(data)) for path, data in files.items())
    manifest = Manifest(name, "1", specs)
    manifest_path(cli, name).write_text(manifest_toml(manifest), "utf-8")
    for data in files.values():
        blob_path(cli, data).parent.mkdir(parents=True, exist_ok=True)
        blob_path(cli, data).write_bytes(data)
    return manifest


def manifest_path(cli: InProcess, name: str = "tiny") -> Path:
    return cli.catalog / f"{name}.toml"


def manifest(cli: InProcess, name: str = "tiny") -> Manifest:
    """The manifest as it is now."""
    return load_manifest(manifest_path(cli, name))


def blob_path(cli: InProcess, data: bytes) -> Path:
    return cli.cache / "blobs" / "sha256" / digest(data)[:2] / digest(data)
