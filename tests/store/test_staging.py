"""The directory of another program's pieces: private, read with care, and removed even after a crash."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelfetch.store import Store, temporary
from modelfetch.store.temporary import TEMPORARY, is_temporary


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", fsync=False)


def test_it_is_a_temporary_directory_beside_the_partials(store: Store) -> None:
    staging = store.staging()
    assert staging.directory.parent == store.root / "partial"
    assert is_temporary(staging.directory.name)
    (staging.directory / "0").write_bytes(b"pieces")
    store.sweep()  # of a process that lives
    assert (staging.directory / "0").exists()
    staging.remove()
    assert not staging.directory.exists()


def test_that_of_a_dead_process_is_swept(store: Store) -> None:
    staging = store.staging()
    (staging.directory / "0").write_bytes(b"pieces")
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    machine, _, rest = staging.directory.name.removeprefix(".mf-tmp-").split("-")
    dead = staging.directory.rename(staging.directory.with_name(f".mf-tmp-{machine}-{child}-{rest}"))
    store.sweep()
    assert not dead.exists()


def test_that_of_another_machine_stays_while_it_writes_to_a_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory does not change with the files in it, and that of a server lives as long as the server."""
    directory = store.staging().directory
    directory = directory.rename(directory.with_name(f"{TEMPORARY}{'0f' * 6}-1-{'0' * 8}"))
    (directory / "0").write_bytes(b"pieces")
    later = time.time() + 2 * temporary.GRACE
    monkeypatch.setattr(temporary, "time", SimpleNamespace(time=lambda: later))
    os.utime(directory / "0", (later, later))
    store.sweep()
    assert (directory / "0").exists()
    os.utime(directory / "0", (0, 0))
    store.sweep()
    assert not directory.exists()


def test_a_range_is_read_whole_or_not_at_all(store: Store) -> None:
    path = store.staging().directory / "0"
    path.write_bytes(b"0123456789")
    assert store.read_range(path, 2, 5) == b"234"
    assert store.read_range(path, 0, 10) == b"0123456789"
    assert store.read_range(path, 8, 11) is None
    assert store.read_range(path.with_name("1"), 0, 1) is None


def test_neither_a_link_nor_a_pipe_is_read(store: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    directory = store.staging().directory
    (directory / "link").symlink_to(secret)
    os.mkfifo(directory / "pipe")
    (directory / "below").symlink_to(tmp_path)
    assert store.read_range(directory / "link", 0, 6) is None
    assert store.read_range(directory / "pipe", 0, 6) is None
    assert store.read_range(directory / "below" / "secret", 0, 6) is None
