"""A run tries hosts in the order of their health, and reads the history only for that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine.setup import RunOptions, assemble
from modelfetch.history import FILE, AttemptRow, History
from modelfetch.model.manifest import FileSpec, HuggingFaceRepo, Manifest
from modelfetch.settings import load
from tests.history.material import attempt, failure

GATEWAYS = "https://a.example,https://b.example,https://c.example"
MIRRORS = ("https://m.example/{path}", "https://n.example/{path}")
FILES = (FileSpec("f", 3, "0" * 64),)
MIRRORED = Manifest("m", "1", FILES, mirrors=MIRRORS)
EVERYWHERE = Manifest(
    "m",
    "1",
    FILES,
    huggingface=HuggingFaceRepo("o/r", "0" * 40),
    ipfs_cid="bafybeidyw252ecy4vs46bbmezrtw325gl2ymdltosmzqgx4edjsc3fbofy",
    mirrors=MIRRORS,
)


def remember(cache: Path, rows: Iterable[AttemptRow]) -> None:
    with History(cache / FILE) as history:
        history.write(attempts=rows)


def asked(cache: Path, *, manifest: Manifest = MIRRORED, options: RunOptions | None = None) -> Sequence[str]:
    """The hosts in the order in which they would be tried."""
    environ = {"MODELFETCH_CACHE_DIR": str(cache), "MODELFETCH_IPFS_GATEWAYS": GATEWAYS, "HOME": str(cache)}
    loaded = load(flags={}, environ=environ, cwd=cache)
    runtime = assemble(loaded, options or RunOptions(), Cancellation())
    try:
        return [f"{offer.kind} {offer.host}" for offer in runtime.offers((manifest, manifest.files[0]))]
    finally:
        runtime.close()  # a program may listen where a local node would, and so have a connection


def test_without_a_history_the_order_is_that_of_settings_and_manifest(tmp_path: Path) -> None:
    assert asked(tmp_path) == ["mirror m.example", "mirror n.example"]
    assert list(tmp_path.iterdir()) == []


def test_hosts_that_failed_come_last_within_their_kind(tmp_path: Path) -> None:
    remember(
        tmp_path,
        [
            *[failure(host="m.example")] * 3,
            *[failure(source="ipfs", host="a.example")] * 3,
            *[attempt(source="ipfs", host="b.example", seconds=11.0)] * 3,
            *[attempt(source="ipfs", host="c.example")] * 3,
            *[failure(source="huggingface", host="huggingface.co")] * 9,
        ],
    )
    assert asked(tmp_path, manifest=EVERYWHERE) == [
        "mirror n.example",
        "mirror m.example",
        "ipfs c.example",
        "ipfs b.example",
        "ipfs a.example",
        "huggingface huggingface.co",
    ]
    assert asked(tmp_path, manifest=EVERYWHERE, options=RunOptions(prefer="huggingface"))[0] == (
        "huggingface huggingface.co"
    ), "kinds keep their order, however they fared"


def test_one_host_of_a_kind_needs_no_history(tmp_path: Path) -> None:
    """A damaged one would have been moved aside, had it been read."""
    (tmp_path / FILE).write_bytes(b"damaged" * 1000)
    alone = Manifest("m", "1", FILES, mirrors=MIRRORS[:1])
    assert asked(tmp_path, manifest=alone) == ["mirror m.example"]
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE]


def test_a_damaged_history_changes_no_order(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"damaged" * 1000)
    assert asked(tmp_path) == ["mirror m.example", "mirror n.example"]


@pytest.mark.quick(1)
@pytest.mark.lean
@pytest.mark.parametrize("module", ["modelfetch.reporters.recorder", "modelfetch.history", "modelfetch.api"])
def test_sqlite_is_not_imported_before_it_is_used(module: str) -> None:
    code = f"import sys, {module}; sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
