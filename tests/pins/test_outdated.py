"""Each upstream is asked once; what moved is found without fetching a file."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from modelfetch.cancel import Cancelled
from modelfetch.errors import UnavailableError
from modelfetch.model.manifest import FileSpec, Manifest, PinOrigin
from modelfetch.model.reference import Reference
from modelfetch.pins.outdated import PARALLEL, Checked, check_pins, git_blob_ids
from modelfetch.store import Store
from modelfetch.upstreams.base import Listing, Upstream
from tests.patience import IN_TIME
from tests.pins.moving import NEW, OLD, Hub, git_blob, listed, parse, pin, sha256

SAME = (listed("config.json", b"{}", is_stated=False), listed("model.bin", b"weights"))


def nothing(_file: FileSpec) -> None:
    """No bytes are on this disk."""


def check(hub: Hub, *manifests: Manifest) -> list[Checked]:
    return check_pins(manifests, hub.upstream_for, parse, nothing)


def outcomes(results: Sequence[Checked]) -> list[str]:
    return [result.outcome for result in results]


def test_the_pinned_revision_is_up_to_date_without_a_comparison() -> None:
    hub = Hub()
    hub.has("hf:org/m@main", OLD, *SAME)
    (result,) = check(hub, pin())
    assert (result.outcome, result.revision, hub.asked) == ("current", OLD, ["hf:org/m@main"])


def test_a_branch_that_moved_says_which_files_changed() -> None:
    hub = Hub()
    hub.has("hf:org/m@main", NEW, *SAME[:1], listed("model.bin", b"better weights"))
    (result,) = check(hub, pin())
    assert (result.outcome, result.revision) == ("moved", NEW)
    assert result.document["changed"] == [{"path": "model.bin", "before": 7, "after": 14}]
    assert result.document["fetch"] == 14
    assert result.document["not_compared"] == ["config.json"]


def test_a_new_revision_with_the_same_files_is_up_to_date() -> None:
    hub = Hub()
    hub.has("hf:org/m@main", NEW, listed("config.json", b"{}"), listed("model.bin", b"weights"))
    assert outcomes(check(hub, pin())) == ["current"]


def test_a_new_revision_with_a_file_that_cannot_be_compared_counts_as_moved() -> None:
    hub = Hub()
    hub.has("hf:org/m@main", NEW, *SAME)
    assert outcomes(check(hub, pin())) == ["moved"]


def test_an_upstream_without_revisions_is_compared_by_size() -> None:
    hub = Hub()
    hub.has("hf:org/m@main", "", *SAME)
    assert outcomes(check(hub, pin())) == ["current"]


def test_the_patterns_of_the_pin_apply() -> None:
    hub = Hub()
    hub.has("hf:org/m@main", NEW, *SAME[1:], listed("readme.md", b"new"), listed("gone.bin", b"1"))
    manifest = pin(files={"model.bin": b"weights"})
    origin = PinOrigin("hf:org/m@main", include=("*.bin",), exclude=("gone.*",))
    assert outcomes(check(hub, replace(manifest, upstream=origin))) == ["current"]


def test_a_failure_does_not_hide_the_others() -> None:
    hub = Hub()
    hub.has("hf:org/m@main", OLD, *SAME)
    hub.answers["hf:org/down@main"] = UnavailableError("hub.example: no answer", hint="Try later.")
    results = check(hub, pin("down", "hf:org/down@main"), pin("gone", "hf:org/gone@main"), pin())
    assert outcomes(results) == ["failed", "failed", "current"]
    assert results[0].document["error"] == {
        "code": "unavailable",
        "message": "hub.example: no answer",
        "hint": "Try later.",
    }


def test_a_manifest_without_an_upstream_is_not_asked_for() -> None:
    hub = Hub()
    assert outcomes(check(hub, replace(pin(), upstream=None))) == ["untracked"]
    assert hub.asked == []


def test_upstreams_are_asked_at_the_same_time_but_not_all_at_once() -> None:
    """As many requests are in progress as may be; the barrier breaks if there were fewer."""
    barrier = threading.Barrier(PARALLEL)

    class Slow(Hub):
        def resolve(self, reference: Reference) -> Listing:
            barrier.wait(IN_TIME)
            return super().resolve(reference)

    hub = Slow()
    names = [f"m{number}" for number in range(2 * PARALLEL)]
    for name in names:
        hub.has(f"hf:org/{name}@main", OLD, *SAME)
    results = check(hub, *(pin(name, f"hf:org/{name}@main") for name in names))
    assert [result.manifest.name for result in results] == names
    assert set(outcomes(results)) == {"current"}


def test_a_cancelled_run_ends() -> None:
    def upstream_for(_reference: Reference) -> Upstream:
        raise Cancelled

    with pytest.raises(Cancelled):
        check_pins([pin(), pin("n")], upstream_for, parse, nothing)


def test_git_blob_ids_come_from_undamaged_blobs_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    file = FileSpec("config.json", 2, sha256(b"{}"))
    blob_id = git_blob_ids(store)
    assert blob_id(file) is None
    path = tmp_path / "blobs" / "sha256" / file.sha256[:2] / file.sha256
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{}")
    assert blob_id(file) == git_blob(b"{}")
    path.write_bytes(b"[]")
    assert blob_id(file) is None
