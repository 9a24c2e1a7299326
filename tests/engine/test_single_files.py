"""Fetching some files of a model: only these, without its lock, its receipt or a word that it is ready."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine.ensure import ensure
from modelfetch.engine.events import Event, FileKept, Planned
from modelfetch.engine.options import EnsureOptions, Request
from modelfetch.engine.runtime import KnownChunks, Runtime
from modelfetch.model.manifest import Manifest
from modelfetch.store import Partial
from tests.engine.fakes import (
    NOT_FOUND,
    Answer,
    Laboratory,
    SpyDisk,
    body,
    code,
    crash,
    flipped,
    kinds,
    last,
    model,
    of,
    serve_all,
    statuses,
)

FILES = {"config.json": body(500, 1), "a/big.bin": body(300_000, 2), "b.bin": body(100_000, 3)}


def fetch(lab: Laboratory, manifest: Manifest, *paths: str, runtime: Runtime | None = None) -> list[Event]:
    request = Request((manifest,), EnsureOptions(files=paths))
    return list(ensure(runtime or lab.runtime(), request))


def test_only_the_requested_files_are_fetched(lab: Laboratory) -> None:
    manifest = model("m", FILES)
    offers = {path: lab.serve(content) for path, content in FILES.items()}
    events = fetch(lab, manifest, "config.json", "b.bin")
    assert statuses(events) == {"config.json": "completed", "b.bin": "completed"}
    [plan] = of(events, Planned)
    assert ([file.file for file in plan.files], plan.size, plan.missing) == (
        ["config.json", "b.bin"],
        100_500,
        100_500,
    )
    assert lab.read(manifest, "config.json") == FILES["config.json"]
    assert not offers["a/big.bin"].asked
    assert not lab.place(manifest, "a/big.bin").exists()


def test_there_is_no_receipt_and_the_next_ensure_fetches_the_rest_alone(lab: Laboratory) -> None:
    manifest = model("m", FILES)
    offers = {path: lab.serve(content) for path, content in FILES.items()}
    assert "model_ready" not in kinds(fetch(lab, manifest, "a/big.bin"))
    assert lab.store.receipt(manifest) is None
    assert code(lab.ensure(manifest)) == 0
    assert lab.store.receipt(manifest) is not None
    assert {path: len(offer.asked) for path, offer in offers.items()} == dict.fromkeys(FILES, 1)


def test_a_file_of_a_model_that_is_ready_is_kept(lab: Laboratory) -> None:
    manifest = model("m", FILES)
    lab.install(manifest, contents=FILES.values())
    events = fetch(lab, manifest, "b.bin")
    assert of(events, FileKept) == [FileKept("m", "b.bin", 100_000)]
    assert last(events).files[0].source == "cache"


def test_a_run_of_the_whole_model_does_not_hold_a_file_up(lab: Laboratory) -> None:
    manifest = model("m", FILES)
    serve_all(lab, FILES)
    lock = lab.store.lock_model("m")
    assert lock.try_acquire()
    try:
        assert code(fetch(lab, manifest, "config.json", runtime=lab.runtime(lock_timeout=0.1))) == 0
    finally:
        lock.release()


def test_an_unknown_path_fails_before_any_request(lab: Laboratory) -> None:
    offer = lab.serve(FILES["b.bin"])
    events = fetch(lab, model("m", FILES), "../b.bin")
    assert (code(events), offer.asked) == (2, [])


def test_wrong_bytes_get_no_name(lab: Laboratory) -> None:
    manifest = model("m", FILES)
    lab.serve(FILES["b.bin"], Answer(sends=flipped(FILES["b.bin"], 5)))
    events = fetch(lab, manifest, "b.bin")
    assert (code(events), statuses(events)) == (5, {"b.bin": "failed"})
    assert not lab.place(manifest, "b.bin").exists()
    assert lab.store.find_blob(manifest.files[2]) is None


def test_a_file_that_no_source_has_does_not_stop_the_others(lab: Laboratory) -> None:
    lab.serve(FILES["b.bin"], NOT_FOUND)
    lab.serve(FILES["config.json"])
    events = fetch(lab, model("m", FILES), "b.bin", "config.json")
    assert statuses(events) == {"b.bin": "failed", "config.json": "completed"}
    assert code(events) == 6


def test_a_full_disk_ends_the_run(lab: Laboratory) -> None:
    disk = SpyDisk(lambda operation, path: operation == "write" and "partial" in path.parts)
    lab.store = type(lab.store)(lab.root, disk=disk)
    serve_all(lab, FILES)
    assert code(fetch(lab, model("m", FILES), "b.bin")) == 7


def test_a_cancelled_run_ends_as_cancelled(lab: Laboratory) -> None:
    cancel = Cancellation()
    lab.serve(FILES["b.bin"], Answer(before_piece=cancel.cancel))
    end = last(fetch(lab, model("m", FILES), "b.bin", runtime=lab.runtime(cancel=cancel)))
    assert (end.outcome, end.exit_code) == ("cancelled", 130)


def test_the_partial_of_each_file_is_handed_on_with_its_chunks(lab: Laboratory) -> None:
    seen: list[tuple[str, bool, threading.Thread]] = []

    def opened(partial: Partial, chunks: KnownChunks) -> None:
        seen.append((partial.file.path, chunks.is_proven, threading.current_thread()))

    serve_all(lab, FILES)
    runtime = replace(lab.runtime(), opened=opened)
    assert code(fetch(lab, model("m", FILES), "b.bin", runtime=runtime)) == 0
    assert [(path, is_proven) for path, is_proven, _ in seen] == [("b.bin", False)]


def test_a_bug_is_raised(lab: Laboratory) -> None:
    lab.serve(FILES["b.bin"], crash(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        fetch(lab, model("m", FILES), "b.bin")
