"""What is there, what is missing, and where it would come from: looked at, never touched."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from modelfetch.engine.events import Planned, PlannedFile
from modelfetch.engine.plan import Holdings, Inventory, jobs, license_notice, planned, take_inventory
from modelfetch.model.manifest import Manifest
from modelfetch.store import Store
from tests.engine.fakes import Laboratory, SpyDisk, body, last, model, of

SMALL, LARGE = body(100, 1), body(5000, 2)
MODEL = model("m", {"a.bin": SMALL, "dir/b.bin": LARGE})


def test_nothing_is_there_at_first(lab: Laboratory) -> None:
    inventory = take_inventory(lab.runtime(), MODEL)
    assert inventory.kept == frozenset()
    assert inventory.missing == list(MODEL.files)


def test_what_a_run_verified_is_there(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[SMALL, LARGE])
    inventory = take_inventory(lab.runtime(), MODEL)
    assert inventory.kept == {"a.bin", "dir/b.bin"}
    assert inventory.missing == []


def test_what_changed_since_is_missing(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[SMALL, LARGE])
    os.utime(lab.place(MODEL, "a.bin"), ns=(1, 1))
    assert take_inventory(lab.runtime(), MODEL).missing == [MODEL.files[0]]


def test_the_same_size_is_not_the_same_file(lab: Laboratory) -> None:
    path = lab.place(MODEL, "a.bin")
    path.parent.mkdir(parents=True)
    path.write_bytes(SMALL)
    assert take_inventory(lab.runtime(), MODEL).kept == frozenset()


def test_what_is_distrusted_is_missing_whatever_it_looks_like(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[SMALL, LARGE])
    assert take_inventory(lab.runtime(), MODEL, ["dir/b.bin"]).missing == [MODEL.files[1]]


def test_another_version_is_not_this_one(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[SMALL, LARGE])
    newer = model("m", {"a.bin": SMALL, "dir/b.bin": LARGE}, version="2")
    assert take_inventory(lab.runtime(), newer).kept == frozenset()


def test_a_plan_says_everything(lab: Laboratory) -> None:
    lab.install(model("earlier", {"a.bin": SMALL}), contents=[SMALL])
    lab.begin(LARGE, "mirror old.example", 2000)
    lab.serve(LARGE, kind="mirror", host="a.example")
    lab.serve(LARGE, kind="mirror", host="b.example")
    lab.serve(LARGE, kind="url", host="c.example")
    manifest = replace(MODEL, title="M", license="MIT", homepage="https://m.example")
    inventory = Inventory(manifest, frozenset({"a.bin"}))
    assert planned(lab.runtime(), inventory) == Planned(
        model="m",
        version="1",
        title="M",
        license="MIT",
        license_notice="",
        homepage="https://m.example",
        directory=str(lab.root / "models" / "m" / "1"),
        size=5100,
        missing=3000,
        files=(
            PlannedFile("a.bin", 100, MODEL.files[0].sha256, "kept", 100, ()),
            PlannedFile(
                "dir/b.bin",
                5000,
                MODEL.files[1].sha256,
                "partial",
                2000,
                ("mirror a.example", "mirror b.example", "url c.example"),
            ),
        ),
    )


def test_planning_writes_nothing_and_asks_nobody(lab: Laboratory) -> None:
    offer = lab.serve(LARGE)
    disk = SpyDisk()
    runtime = lab.runtime(store=Store(lab.root, disk=disk))
    plan = planned(runtime, take_inventory(runtime, MODEL))
    assert [file.state for file in plan.files] == ["missing", "missing"]
    assert plan.missing == 5100
    assert offer.asked == []
    assert {operation for operation, _ in disk.operations} <= {"inspect", "list", "open"}
    assert not lab.root.exists()


def test_bytes_of_a_blob_are_not_planned_to_be_fetched(lab: Laboratory) -> None:
    """As after a kill between the last commit and the receipt."""
    lab.install(model("other", {"x.bin": LARGE}), contents=[LARGE])
    plan = planned(lab.runtime(), take_inventory(lab.runtime(), MODEL))
    assert [(file.state, file.held) for file in plan.files] == [("missing", 0), ("partial", 5000)]
    assert plan.missing == 100
    assert Holdings(lab.store).of(MODEL, MODEL.files[1]) == 5000


def test_when_everything_is_fetched_anew_nothing_counts(lab: Laboratory) -> None:
    lab.install(MODEL, contents=[SMALL, LARGE])
    for content in (SMALL, LARGE):
        lab.serve(content)
    (plan,) = of(lab.ensure(MODEL, force=True), Planned)
    assert plan.missing == plan.size == 5100
    assert {file.state for file in plan.files} == {"missing"}


@pytest.mark.parametrize(
    ("license_", "notice", "expected"),
    [
        ("MIT", "", ""),
        ("Apache-2.0", "", ""),
        ("", "", "no license is stated"),
        ("AGPL-3.0", "", "read its terms before use"),
        ("AGPL-3.0", "Only for research.", "Only for research."),
        ("MIT", "Trained on films.", "Trained on films."),
    ],
)
def test_a_license_that_asks_for_something_is_told(license_: str, notice: str, expected: str) -> None:
    manifest = Manifest("m", "1", (), license=license_, license_notice=notice)
    assert license_notice(manifest) == expected


def test_kinds_keep_their_order_and_hosts_within_a_kind_are_ranked(lab: Laboratory) -> None:
    lab.serve(LARGE, kind="url", host="z.example")
    lab.serve(LARGE, kind="mirror", host="a.example")
    lab.serve(LARGE, kind="mirror", host="b.example")
    runtime = replace(lab.runtime(), rank=lambda offers: list(reversed(offers)))
    offers = runtime.offers((MODEL, MODEL.files[1]))
    assert [f"{offer.kind} {offer.host}" for offer in offers] == [
        "url z.example",
        "mirror b.example",
        "mirror a.example",
    ]


# Jobs


def missing(*manifests: Manifest) -> list[Inventory]:
    return [Inventory(manifest, frozenset()) for manifest in manifests]


def test_nothing_missing_is_nothing_to_do() -> None:
    assert jobs([]) == []
    assert jobs([Inventory(MODEL, frozenset({"a.bin", "dir/b.bin"}))]) == []


def test_the_largest_file_comes_first() -> None:
    assert [job.file.path for job in jobs(missing(MODEL))] == ["dir/b.bin", "a.bin"]


def test_each_digest_is_one_job_for_all_who_need_it() -> None:
    twice = model("m", {"a.bin": SMALL, "copy.bin": SMALL})
    other = model("n", {"z.bin": SMALL, "own.bin": LARGE})
    work = jobs(missing(twice, other))
    assert [[(manifest.name, file.path) for manifest, file in job.places] for job in work] == [
        [("n", "own.bin")],
        [("m", "a.bin"), ("m", "copy.bin"), ("n", "z.bin")],
    ]


def test_the_plan_of_a_run_is_told_before_its_work(lab: Laboratory) -> None:
    lab.serve(SMALL)
    lab.serve(LARGE)
    events = lab.ensure(MODEL)
    (plan,) = of(events, Planned)
    assert events.index(plan) == 1
    assert plan.missing == sum(result.size for result in last(events).files)
