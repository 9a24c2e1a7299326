"""Notes about uploads under way: private, bound to their repository, and harmless if they are wrong."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from modelfetch.bundle.upload_notes import UploadNotes
from modelfetch.net.registry_uploads import Upload
from modelfetch.net.registry_urls import RegistryRepository

REPOSITORY = RegistryRepository("registry.example", "lab/tiny")
DIGEST = "0" * 64
GOOD = Upload("https://registry.example/v2/lab/tiny/blobs/uploads/1?_state=a%3D")


@pytest.fixture
def notes(tmp_path: Path) -> UploadNotes:
    return UploadNotes(tmp_path)


def note_of(root: Path) -> Path:
    [path] = (root / "uploads").iterdir()
    return path


def test_a_note_is_for_its_user_and_its_blob_alone(notes: UploadNotes, tmp_path: Path) -> None:
    assert notes.load(REPOSITORY, DIGEST) is None
    notes.save(REPOSITORY, DIGEST, GOOD)
    assert note_of(tmp_path).stat().st_mode & 0o777 == 0o600
    assert note_of(tmp_path).parent.stat().st_mode & 0o777 == 0o700
    assert notes.load(REPOSITORY, DIGEST) == GOOD
    assert notes.load(RegistryRepository("registry.example", "lab/other"), DIGEST) is None
    notes.forget(REPOSITORY, DIGEST)
    notes.tidy()
    assert not (tmp_path / "uploads").exists()


@pytest.mark.parametrize(
    "url",
    [
        "https://storage.example/v2/lab/tiny/blobs/uploads/1",
        "http://registry.example/v2/lab/tiny/blobs/uploads/1",
        "https://registry.example:444/v2/lab/tiny/blobs/uploads/1",
        "https://registry.example/v2/lab/other/blobs/uploads/1",
        "https://registry.example/v2/lab/tiny/blobs/uploads/../../../other/blobs/uploads/1",
        "https://user@registry.example/v2/lab/tiny/blobs/uploads/1",
        "https://registry.example/v2/lab/tiny/blobs/uploads/1\n",
        "https://[registry.example/v2/lab/tiny/blobs/uploads/1",
    ],
)
def test_no_other_address_is_noted_or_used(notes: UploadNotes, tmp_path: Path, url: str) -> None:
    notes.save(REPOSITORY, DIGEST, Upload(url))
    assert not (tmp_path / "uploads").exists()
    notes.save(REPOSITORY, DIGEST, GOOD)
    note_of(tmp_path).write_text(json.dumps({"url": url}), "utf-8")
    assert notes.load(REPOSITORY, DIGEST) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"url": 1}', b"\xff", b"[" * 20_000])
def test_a_note_that_is_no_note_is_ignored(notes: UploadNotes, tmp_path: Path, content: bytes) -> None:
    notes.save(REPOSITORY, DIGEST, GOOD)
    note_of(tmp_path).write_bytes(content)
    assert notes.load(REPOSITORY, DIGEST) is None


def test_nothing_is_noted_where_others_may_write(notes: UploadNotes, tmp_path: Path) -> None:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads").chmod(0o770)
    notes.save(REPOSITORY, DIGEST, GOOD)
    assert not list((tmp_path / "uploads").iterdir())


def test_old_notes_are_deleted(notes: UploadNotes, tmp_path: Path) -> None:
    notes.save(REPOSITORY, DIGEST, GOOD)
    notes.tidy()
    week = time.time() - 8 * 86_400
    os.utime(note_of(tmp_path), (week, week))
    notes.tidy()
    assert not (tmp_path / "uploads").exists()
