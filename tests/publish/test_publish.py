"""``publish`` to servers that misbehave: what it sends, skips, repeats and refuses, and what it writes."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from modelfetch.demo import content as demo
from modelfetch.ipfs.car import CarReader
from modelfetch.ipfs.cid import Cid
from modelfetch.ipfs.profiles import UNIXFS_V0_2015
from modelfetch.model.parse import load_manifest
from modelfetch.publish import kubo, pinning_service, targets
from modelfetch.publish.publication import Publication
from tests.e2e.command import Command, InProcess, Result, assert_fails
from tests.origin import Origin, model
from tests.patience import IN_TIME
from tests.publish.material import (
    BIG,
    DATA,
    FILES,
    MIB,
    SMALL,
    blob_path,
    digest,
    manifest,
    manifest_path,
    place,
)
from tests.publish.servers import OTHER_CID, Fault, KuboNode, PinataServer, PinningServer, directory_cid

ROOT = directory_cid(SMALL)
LARGE_ROOT = directory_cid(FILES)


@pytest.fixture
def cli(tmp_path: Path) -> InProcess:
    """A machine that has the model tiny."""
    cli = InProcess(tmp_path / "machine")
    cli.environment["MODELFETCH_NETWORK_STALL_TIMEOUT"] = "5"
    place(cli, files=SMALL)
    return cli


@pytest.fixture
def large(cli: InProcess) -> InProcess:
    """The same with a file of several chunks."""
    place(cli)
    return cli


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[KuboNode]:
    monkeypatch.setattr(kubo, "_BISECTION_LEAVES", 2)
    with KuboNode() as node:
        yield node


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[PinningServer]:
    monkeypatch.setattr(pinning_service, "_FIRST_SECONDS", 0.01)
    with PinningServer() as service:
        yield service


@pytest.fixture
def pinata(monkeypatch: pytest.MonkeyPatch) -> Iterator[PinataServer]:
    with PinataServer() as pinata:
        monkeypatch.setattr(targets, "PINATA_URL", pinata.url)
        yield pinata


def document(result: Result) -> dict[str, Any]:
    assert result.code == 0, result.out
    return dict(result.document)


def cids(cli: InProcess) -> dict[str, str | None]:
    return {file.path: file.cid for file in manifest(cli).files}


# Without a target


def test_the_manifest_gets_the_cids_and_keeps_its_comments(cli: InProcess) -> None:
    path = manifest_path(cli)
    path.write_text("# mine\n" + path.read_text("utf-8"), "utf-8")
    result = cli("publish", "tiny")
    assert result.code == 0, result.err
    assert result.lines == [f"ipfs:{ROOT}"]
    assert path.read_text("utf-8").startswith("# mine\n")
    found = manifest(cli)
    assert found.ipfs_cid == ROOT
    by_path = {file.path: file for file in found.files}
    assert by_path["sub/config.json"].cid == cli_cid(cli, b"{}")
    assert by_path["big.bin"].cid == cli_cid(cli, DATA)
    before = path.stat().st_mtime_ns
    again = cli("publish", "tiny")
    assert again.stderr_lines("the CIDs are already in")
    assert path.stat().st_mtime_ns == before


def cli_cid(cli: InProcess, data: bytes) -> str:
    """What the command ``cid`` says about bytes."""
    (cli.work / "some.bin").write_bytes(data)
    return cli("cid", "some.bin").out.split()[0]


def test_a_dry_run_writes_nothing(cli: InProcess, node: KuboNode) -> None:
    before = manifest_path(cli).read_bytes()
    words = ("--to", f"kubo={node.url}", "--car", "tiny.car", "--dry-run")
    found = document(cli("publish", "tiny", *words, "--json"))
    assert (found["cid"], found["written"], found["car"]) == (ROOT, False, None)
    assert [each["state"] for each in found["targets"]] == ["missing"]
    assert "dag/import" not in node.paths()
    assert manifest_path(cli).read_bytes() == before
    assert list(cli.work.iterdir()) == []
    assert not (cli.cache / "state.db").exists()


def test_a_dry_run_says_what_would_be_written(cli: InProcess) -> None:
    result = cli("publish", "tiny", "--car", "tiny.car", "--dry-run")
    assert result.stderr_lines("would write", "tiny.car")
    assert result.stderr_lines("would write the CIDs into")
    assert cli("publish", "tiny").stderr_lines("nothing was sent", "--to")
    result = cli("publish", "tiny", "--dry-run")
    assert result.stderr_lines("the CIDs are already in")
    assert not result.stderr_lines("would write")


def test_other_cids_of_a_manifest_are_replaced_with_a_note(cli: InProcess) -> None:
    old = directory_cid(SMALL, UNIXFS_V0_2015)
    assert cli("publish", "tiny", "--profile", "unixfs-v0-2015").lines == [f"ipfs:{old}"]
    result = cli("publish", "tiny")
    assert result.stderr_lines(f"note: the directory had the CID {old}; now it has {ROOT}")
    assert manifest(cli).ipfs_cid == ROOT


def test_a_damaged_file_is_not_published(cli: InProcess, node: KuboNode) -> None:
    blob_path(cli, DATA).chmod(0o600)
    blob_path(cli, DATA).write_bytes(DATA[:5] + b"?" + DATA[6:])
    result = cli("publish", "tiny", "--to", f"kubo={node.url}", "--car", "tiny.car")
    assert_fails(result, 5, "big.bin", "modelfetch verify --repair")
    assert node.asked == []
    assert list(cli.work.iterdir()) == []
    assert manifest(cli).ipfs_cid is None


def test_a_file_that_changes_after_it_was_hashed_is_not_sent(
    large: InProcess, node: KuboNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each chunk is compared with its leaf when it leaves."""
    hashed = Publication.hash

    def hash_and_damage(publication: Publication, known: Any) -> Any:
        done = hashed(publication, known)
        blob_path(large, BIG).chmod(0o600)
        blob_path(large, BIG).write_bytes(BIG[: 2 * MIB] + bytes(len(BIG) - 2 * MIB))
        return done

    monkeypatch.setattr(Publication, "hash", hash_and_damage)
    assert_fails(large("publish", "tiny", "--car", "tiny.car"), 5, "big.bin")
    assert list(large.work.iterdir()) == []
    blob_path(large, BIG).write_bytes(BIG)
    assert_fails(large("publish", "tiny", "--to", f"kubo={node.url}"), 5, "big.bin")
    assert node.pins == []
    assert bytes(MIB) not in node.blocks.values()  # of those before, it has what came before the end


def test_a_manifest_that_changes_meanwhile_is_left_alone(
    cli: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = Publication.hash

    def hash_and_pin(publication: Publication, known: Any) -> Any:
        done = hashed(publication, known)
        place(cli, "tiny", {"a.bin": b"a"})
        return done

    monkeypatch.setattr(Publication, "hash", hash_and_pin)
    assert_fails(cli("publish", "tiny"), 2, "was changed meanwhile")
    assert cids(cli) == {"a.bin": None}


def test_a_manifest_that_cannot_be_written_is_refused_before_anything_is_read(
    cli: InProcess, node: KuboNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    blob_path(cli, DATA).write_bytes(bytes(len(DATA)))  # would be found damaged
    assert_fails(cli("publish", "tiny", "--to", f"kubo={node.url}"), 7, "is not writable", "--manifest")
    assert node.asked == []


def test_a_model_that_is_not_present_is_not_published(cli: InProcess) -> None:
    blob_path(cli, DATA).unlink()
    assert_fails(cli("publish", "tiny"), 4, "modelfetch ensure tiny")
    assert_fails(cli("publish", "nobody"), 3, "nobody")


@pytest.mark.slow  # the smallest of them has 49 MB
def test_the_manifest_of_a_built_in_model_is_written_elsewhere(cli: InProcess) -> None:
    for path in demo.SIZES:
        data = demo.content(path)
        blob_path(cli, data).parent.mkdir(parents=True, exist_ok=True)
        blob_path(cli, data).write_bytes(data)
    found = document(cli("publish", "demo", "--json"))
    assert (found["manifest"], found["written"]) == (None, False)
    assert any("--manifest FILE" in notice for notice in found["notices"])
    assert document(cli("publish", "demo", "--manifest", "demo.toml", "--json"))["written"]
    assert load_manifest(cli.work / "demo.toml").ipfs_cid == found["cid"]


def test_a_manifest_is_written_where_it_is_wanted(cli: InProcess) -> None:
    before = manifest_path(cli).read_bytes()
    result = cli("publish", "tiny", "--manifest", "copy.toml")
    assert result.code == 0, result.err
    assert manifest_path(cli).read_bytes() == before
    assert ROOT in (cli.work / "copy.toml").read_text("utf-8")


# Chunk maps


def map_path(cli: InProcess, data: bytes) -> Path:
    return cli.cache / "chunks/sha256" / digest(data)[:2] / f"{digest(data)}.car"


def test_cids_that_are_known_cost_no_read_and_each_chunk_is_compared_when_it_leaves(large: InProcess) -> None:
    assert large("publish", "tiny").code == 0
    assert len(large.files("chunks")) == 1
    blob_path(large, BIG).chmod(0o600)
    blob_path(large, BIG).write_bytes(BIG[:-1] + b"?")
    assert large("publish", "tiny").lines == [f"ipfs:{LARGE_ROOT}"]
    assert_fails(large("publish", "tiny", "--car", "tiny.car"), 5, "big.bin")
    assert_fails(large("publish", "tiny", "--profile", "unixfs-v0-2015"), 5, "big.bin")


@pytest.mark.slow
def test_a_map_that_nothing_confirms_is_not_believed(large: InProcess) -> None:
    """It may be that of another file of the same size."""
    other = BIG[::-1]
    place(large, "other", {"other.bin": other})
    for name in ("tiny", "other"):
        assert large("publish", name).code == 0
    map_path(large, BIG).write_bytes(map_path(large, other).read_bytes())
    place(large)  # a manifest without CIDs
    assert large("publish", "tiny").lines == [f"ipfs:{LARGE_ROOT}"]
    assert cids(large)["big.bin"] == cli_cid(large, BIG)


def test_a_map_with_another_cid_than_the_stated_one_is_not_used(large: InProcess) -> None:
    other = BIG[::-1]
    place(large, "other", {"other.bin": other})
    for name in ("tiny", "other"):
        assert large("publish", name).code == 0
    map_path(large, BIG).write_bytes(map_path(large, other).read_bytes())
    assert large("publish", "tiny").lines == [f"ipfs:{LARGE_ROOT}"]


def test_the_receipt_of_a_fetched_model_confirms_its_maps(cli: InProcess) -> None:
    with Origin() as origin:
        served = cli.serve(model(origin, {"big.bin": 3 * MIB}, catalog=cli.catalog))
        assert cli("ensure", served.name, MODELFETCH_CACHE_CHUNK_MAPS="always").code == 0
    data = served.contents["big.bin"].data
    blob_path(cli, data).chmod(0o600)
    blob_path(cli, data).write_bytes(bytes(len(data)))
    found = document(cli("publish", served.name, "--dry-run", "--json"))
    assert found["cid"] == directory_cid({"big.bin": data})


def test_no_maps_are_written_if_none_are_wanted(cli: InProcess) -> None:
    assert cli("publish", "tiny", MODELFETCH_CACHE_CHUNK_MAPS="never").code == 0
    assert cli("publish", "tiny", "--profile", "unixfs-v0-2015").code == 0
    assert cli("publish", "tiny", "--dry-run").code == 0
    assert cli.files("chunks") == []


# CAR files


def blocks_of(path: Path) -> list[Cid]:
    reader = CarReader()
    found = [cid for cid, _ in reader.feed(path.read_bytes())]
    reader.finish()
    return found


def test_a_car_file_has_every_block_once_and_the_same_bytes_each_time(large: InProcess) -> None:
    found = document(large("publish", "tiny", "--car", "tiny.car", "--skeleton", ".", "--json"))
    path = large.work / "tiny.car"
    assert found["car"] == {"path": str(path), "size": path.stat().st_size, "written": True}
    blocks = blocks_of(path)
    assert blocks[0].text == LARGE_ROOT
    assert len(blocks) == len({cid.multihash for cid in blocks})
    # Two directories, the root of the large file and its five leaves, and two small files.
    assert len(blocks) == 2 + 6 + 2
    skeleton = large.work / "tiny.skeleton.car"
    assert found["skeleton"]["path"] == str(skeleton)
    assert {cid.text for cid in blocks_of(skeleton)} == {
        *(cid.text for cid in blocks if cid.codec == 0x70),
    }
    again = document(large("publish", "tiny", "--car", "tiny.car", "--json"))
    assert again["car"]["written"] is False
    path.rename(large.work / "first.car")
    assert document(large("publish", "tiny", "--car", "tiny.car", "--json"))["car"]["written"]
    assert path.read_bytes() == (large.work / "first.car").read_bytes()


@pytest.mark.parametrize("size", [pytest.param(0, marks=pytest.mark.slow), 10, None])
def test_another_file_is_never_replaced_by_a_car(cli: InProcess, size: int | None) -> None:
    path = cli.work / "tiny.car"
    assert cli("publish", "tiny", "--car", path).code == 0
    data = path.read_bytes()
    other = data[:size] if size is not None else data[:-1] + b"?"
    path.write_bytes(other)
    assert_fails(cli("publish", "tiny", "--car", path), 2, "exists already")
    assert path.read_bytes() == other


def test_places_that_cannot_be_written_are_refused_before_anything_is_read(cli: InProcess) -> None:
    blob_path(cli, DATA).chmod(0o600)
    blob_path(cli, DATA).write_bytes(bytes(len(DATA)))  # would be found damaged
    assert_fails(cli("publish", "tiny", "--car", "nowhere/x.car"), 7, "directory does not exist")
    assert_fails(cli("publish", "tiny", "--car", "x", "--skeleton", "x"), 2, "the same file")
    assert_fails(cli("publish", "tiny", "--car", ""), 2, "--car is empty")
    os.mkfifo(cli.work / "fifo")
    assert_fails(cli("publish", "tiny", "--car", "fifo"), 2, "exists already")


# kubo


def test_a_node_gets_every_block_once_and_nothing_the_second_time(large: InProcess, node: KuboNode) -> None:
    found = document(large("publish", "tiny", "--to", f"kubo={node.url}", "--json"))
    assert node.pins == [LARGE_ROOT]
    assert node.has_all(Cid.parse(LARGE_ROOT))
    assert node.received == sum(map(len, node.blocks.values()))
    assert manifest(large).ipfs_cid == LARGE_ROOT
    [target] = found["targets"]
    assert (target["kind"], target["host"], target["state"]) == ("kubo", node.host, "pinned")
    assert target["sent"] > len(BIG)
    node.asked.clear()
    [again] = document(large("publish", "tiny", "--to", f"kubo={node.url}", "--json"))["targets"]
    assert (again["state"], again["sent"]) == ("present", 0)
    assert node.paths() == ["id", "pin/ls"]


@pytest.mark.slow
def test_an_import_that_is_cut_continues_at_the_leaf_that_is_missing(
    large: InProcess, node: KuboNode
) -> None:
    node.faults = [Fault("dag/import", cut_after=5 * MIB // 2), Fault("dag/import", cut_after=3 * MIB // 2)]
    result = large("publish", "tiny", "--to", f"kubo={node.url}")
    assert result.code == 0, result.err
    assert node.pins == [LARGE_ROOT]
    # At most a chunk and the small blocks of each cut were sent in vain.
    imports = sum(each.size for each in node.asked if each.path.endswith("dag/import"))
    assert imports < len(BIG) + 2 * MIB + 20_000


@pytest.mark.slow
def test_a_run_that_failed_continues_in_the_next_one(large: InProcess, node: KuboNode) -> None:
    node.faults = [Fault("dag/import", cut_after=5 * MIB // 2), *([Fault("dag/import", 503, {})] * 4)]
    result = large("publish", "tiny", "--to", f"kubo={node.url}")
    assert_fails(result, 6, node.host, "Run the command again")
    assert manifest(large).ipfs_cid is None
    node.faults.clear()
    [target] = document(large("publish", "tiny", "--to", f"kubo={node.url}", "--json"))["targets"]
    assert target["skipped"] == 2 * MIB
    assert target["sent"] < 3 * MIB
    assert node.pins == [LARGE_ROOT]


@pytest.mark.slow
def test_a_group_of_files_that_the_node_has_is_not_sent(
    cli: InProcess, node: KuboNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubo, "GROUP_SIZE", 1)
    place(cli, "tiny", {"one.bin": BIG, "two.bin": BIG[1:]})
    assert cli("publish", "tiny", "--to", f"kubo={node.url}").code == 0
    assert node.paths().count("dag/import") == 3
    node.pins.clear()
    assert cli("publish", "tiny", "--to", f"kubo={node.url}").code == 0
    assert node.paths().count("dag/import") == 4


def test_a_large_file_is_sent_in_several_requests(
    large: InProcess, node: KuboNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubo, "IMPORT_SIZE", 2 * MIB)
    node.faults = [Fault("dag/import", cut_after=MIB // 2)]
    assert large("publish", "tiny", "--to", f"kubo={node.url}").code == 0
    sizes = [each.size for each in node.asked if each.path.endswith("dag/import")]
    assert max(sizes) < 2 * MIB + 10_000
    assert len(sizes) == 5, "three parts, one of them twice, and the directories"
    assert node.pins == [LARGE_ROOT]


def test_an_import_whose_answer_is_lost_is_not_repeated(cli: InProcess, node: KuboNode) -> None:
    place(cli, "tiny", {f"{number}.bin": bytes([number]) for number in range(4)})
    node.faults = [Fault("dag/import", is_lost=True)]
    assert cli("publish", "tiny", "--to", f"kubo={node.url}").code == 0
    assert node.paths().count("dag/import") == 2


def test_a_file_that_the_node_has_is_not_sent(large: InProcess, node: KuboNode) -> None:
    assert large("publish", "tiny", "--to", f"kubo={node.url}").code == 0
    node.pins.clear()
    [target] = document(large("publish", "tiny", "--to", f"kubo={node.url}", "--json"))["targets"]
    assert target["skipped"] == len(BIG)
    assert target["sent"] < 10_000


def test_a_file_of_which_the_node_has_a_part_is_continued(large: InProcess, node: KuboNode) -> None:
    """The node states fewer blocks than the file has."""
    assert large("publish", "tiny", "--to", f"kubo={node.url}").code == 0
    node.pins.clear()
    node.asked.clear()
    node.faults = [Fault("dag/stat", 200, {"DagStats": [{"NumBlocks": 5}]})]  # it has six
    assert large("publish", "tiny", "--to", f"kubo={node.url}").code == 0
    assert node.paths().count("block/stat") > 1, "the missing leaf is searched"
    assert node.pins == [LARGE_ROOT]


@pytest.mark.slow
def test_blocks_that_vanished_are_sent_again(large: InProcess, node: KuboNode) -> None:
    """The search by bisection takes what the node has as a beginning, which may be wrong."""
    assert large("publish", "tiny", "--to", f"kubo={node.url}").code == 0
    node.pins.clear()
    lost = [each for each, block in node.blocks.items() if len(block) == MIB][3]

    def forget() -> None:
        node.blocks.pop(lost, None)
        node.forgets = lambda: None

    node.forgets = forget
    result = large("publish", "tiny", "--to", f"kubo={node.url}")
    assert result.code == 0, result.err
    assert node.pins == [LARGE_ROOT]


@pytest.mark.parametrize("answer", [[], [{"Message": "disk is full", "Type": "error"}]])
def test_an_import_without_figures_is_repeated(cli: InProcess, node: KuboNode, answer: Any) -> None:
    """Its failure may be in a trailer alone."""
    node.faults = [Fault("dag/import", 200, answer)] * 2
    result = cli("publish", "tiny", "--to", f"kubo={node.url}")
    assert result.code == 0, result.err
    assert node.pins == [ROOT]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_continues_in_the_next_one(
    large: InProcess, node: KuboNode, tmp_path: Path, number: int, code: int
) -> None:
    other = Command(tmp_path / "process")
    other.environment = large.environment
    node.faults = [Fault("dag/import", is_silent=True)]
    with other.start("publish", "tiny", "--to", f"kubo={node.url}") as running:
        running.until(lambda _: any(each.size > len(BIG) for each in node.asked))
        ended = running.interrupt(number)
    assert ended.code == code
    assert ended.stderr_lines("cancelled; run the command again to continue")
    [run] = large("history", "--json").document["runs"]
    assert (run["operation"], run["outcome"]) == ("publish", "cancelled")
    assert manifest(large).ipfs_cid is None
    assert large("publish", "tiny", "--to", f"kubo={node.url}").code == 0
    assert node.pins == [LARGE_ROOT]


def test_a_pin_that_fails_twice_is_reported(cli: InProcess, node: KuboNode) -> None:
    def fail() -> None:
        node.pin_error = "datastore is \x1b[31mfull"

    node.forgets = fail
    assert_fails(
        cli("publish", "tiny", "--to", f"kubo={node.url}"), 6, "did not pin them: datastore is [31mfull"
    )
    assert manifest(cli).ipfs_cid is None
    [line] = cli("log").lines
    assert line.startswith(f"publish tiny: failed: {node.host} has the blocks, but did not pin them")


def test_another_cid_than_ours_is_refused(cli: InProcess, node: KuboNode) -> None:
    node.pinned_as = OTHER_CID
    assert_fails(cli("publish", "tiny", "--to", f"kubo={node.url}"), 5, OTHER_CID, ROOT)
    assert manifest(cli).ipfs_cid is None


@pytest.mark.parametrize("fault", [Fault("id", 404, {}), Fault("id", 200, ["page"]), Fault("id", 302, {})])
def test_what_is_no_node_is_named(cli: InProcess, node: KuboNode, fault: Fault) -> None:
    node.faults = [fault]
    assert_fails(cli("publish", "tiny", "--to", f"kubo={node.url}"), 6, node.host, "--to")


def test_a_node_that_is_not_running_is_named(cli: InProcess) -> None:
    assert_fails(cli("publish", "tiny", "--to", "kubo=http://127.0.0.1:9"), 6, "127.0.0.1:9", "ipfs daemon")


def test_a_node_that_does_not_answer_is_left(cli: InProcess, node: KuboNode) -> None:
    node.faults = [Fault("id", is_silent=True)] * 2
    limits = {"MODELFETCH_NETWORK_STALL_TIMEOUT": "0.05", "MODELFETCH_RETRY_ATTEMPTS": "2"}
    result = cli("publish", "tiny", "--to", f"kubo={node.url}", **limits)
    assert_fails(result, 6, node.host)
    assert result.seconds < IN_TIME, "the server stays silent for longer"


def test_the_token_of_a_node_is_sent_and_never_printed(cli: InProcess, node: KuboNode) -> None:
    node.token = "kubo-token-0123456789"
    words = ("publish", "tiny", "--to", f"kubo={node.url}", "-vv")
    assert cli(*words, KUBO_API_TOKEN=node.token).code == 0
    node.asked.clear()
    wrong = cli(*words, KUBO_API_TOKEN=f"{node.token}x")
    assert_fails(wrong, 9, node.host, "KUBO_API_TOKEN")
    assert node.token not in wrong.err + wrong.out
    assert len(node.asked) == 1


def test_a_token_in_the_forms_of_kubo(cli: InProcess, node: KuboNode) -> None:
    for secret in ("basic:me:pass-word-123", "bearer:token-0123456789"):
        cli("publish", "tiny", "--to", f"kubo={node.url}", "--dry-run", KUBO_API_TOKEN=secret)
    sent = [each.headers["authorization"] for each in node.asked if each.path.endswith("id")]
    assert sent == ["Basic bWU6cGFzcy13b3JkLTEyMw==", "Bearer token-0123456789"]


# The Pinning Service API


def pinned(cli: InProcess, service: PinningServer, *words: str, **env: str) -> Result:
    env = {"IPFS_PINNING_TOKEN": service.token, **env}
    return cli("publish", "tiny", "--to", f"{service.url}/psa", *words, **env)


def test_a_service_is_asked_once_and_watched_until_it_has_the_model(
    cli: InProcess, service: PinningServer, node: KuboNode
) -> None:
    result = pinned(cli, service, "--to", f"kubo={node.url}")
    assert result.code == 0, result.err
    assert service.posted == [{"cid": ROOT, "name": "tiny-1", "origins": ["/ip4/1.1.1.1/tcp/4001"]}]
    assert node.connected == ["/dns4/node.example/tcp/4001/p2p/12D3KooX"]
    assert node.pins == [ROOT], "the node comes first, in whatever order they are given"
    assert result.stderr_lines(f"{service.host}: queued")
    assert result.stderr_lines(f"published to {service.host}")
    assert manifest(cli).ipfs_cid == ROOT
    assert all("authorization" not in each.headers for each in node.asked)
    [_, again] = document(pinned(cli, service, "--to", f"kubo={node.url}", "--json"))["targets"]
    assert (again["state"], again["request"]) == ("present", "request-1")
    assert len(service.posted) == 1


def test_a_node_that_cannot_connect_does_not_matter(
    cli: InProcess, service: PinningServer, node: KuboNode
) -> None:
    node.faults = [Fault("swarm/connect", 503, {})]
    assert pinned(cli, service, "--to", f"kubo={node.url}").code == 0


def test_a_request_under_way_is_found_by_the_next_run(cli: InProcess, service: PinningServer) -> None:
    service.progress = ["queued"]
    result = pinned(cli, service, "--timeout", "0.05")
    assert_fails(result, 10, "queued", "Run the command again")
    assert manifest(cli).ipfs_cid is None
    service.progress = ["queued", "pinned"]
    assert pinned(cli, service).code == 0
    assert len(service.posted) == 1


def test_a_request_that_failed_is_repeated(cli: InProcess, service: PinningServer) -> None:
    service.progress = ["queued", "failed"]
    assert_fails(pinned(cli, service), 6, "could not pin the model: no provider found", "--to kubo")
    service.progress = ["failed", "queued", "pinned"]
    for each in service.pins.values():
        each["status"] = "failed"
    service.progress = ["queued", "pinned", "failed"]
    assert pinned(cli, service).code == 0
    assert service.paths().count("/psa/pins/request-1") >= 1
    assert len(service.posted) == 2


def test_a_service_that_pins_another_cid_is_refused(cli: InProcess, service: PinningServer) -> None:
    service.pinned_as = OTHER_CID
    assert_fails(pinned(cli, service), 5, OTHER_CID, ROOT)


QUOTAS = [
    Fault("/pins", 402, {"error": {"reason": "PAYMENT_REQUIRED"}}),
    Fault("/pins", 403, {"error": {"reason": "PLAN_LIMIT", "details": "storage quota exceeded"}}),
    Fault("/pins", 409, {"error": {"reason": "INSUFFICIENT_FUNDS"}}),
]


@pytest.mark.parametrize("fault", QUOTAS, ids=lambda fault: str(fault.status))
def test_a_quota_that_is_used_up_is_said_and_not_retried(
    cli: InProcess, service: PinningServer, fault: Fault
) -> None:
    service.faults = [fault]
    assert_fails(pinned(cli, service), 6, "the quota is used up", "Make room")
    assert len(service.asked) == 1


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that asks to wait is asked again up to a second later, by chance."""
    monkeypatch.setattr("random.uniform", lambda low, _high: low)


@pytest.mark.usefixtures("no_jitter")
def test_a_limit_of_requests_is_waited_for(cli: InProcess, service: PinningServer) -> None:
    service.faults = [Fault("/pins", 429, {}, {"Retry-After": "0"}), Fault("/pins", 503, {})]
    result = pinned(cli, service)
    assert result.code == 0, result.err
    assert result.stderr_lines(f"{service.host} asks to wait")


@pytest.mark.parametrize("document", [[], {"results": [{"requestid": 1}]}, {"results": [7]}, "words"])
def test_a_service_of_another_form_is_named(cli: InProcess, service: PinningServer, document: Any) -> None:
    service.faults = [Fault("/pins", 200, document), Fault("/pins", 200, document)]
    assert_fails(pinned(cli, service), 6, "has no Pinning Service API")


def test_a_token_that_a_refusal_repeats_is_not_printed(cli: InProcess, service: PinningServer) -> None:
    error = {"reason": "BAD_REQUEST", "details": f"cannot use {service.token} here"}
    service.faults = [Fault("/pins", 400, {"error": error})]
    result = pinned(cli, service)
    assert_fails(result, 6, "BAD_REQUEST: cannot use")
    assert service.token not in result.err


def test_tokens_of_services_come_from_the_environment_alone(cli: InProcess, service: PinningServer) -> None:
    assert_fails(cli("publish", "tiny", "--to", service.url), 9, "IPFS_PINNING_TOKEN")
    assert service.asked == []
    wrong = pinned(cli, service, IPFS_PINNING_TOKEN=f"{service.token}x")
    assert_fails(wrong, 9, service.host, "IPFS_PINNING_TOKEN")
    assert service.token not in wrong.err + wrong.out
    broken = pinned(cli, service, IPFS_PINNING_TOKEN="secret token\x07")
    assert_fails(broken, 2, "IPFS_PINNING_TOKEN")
    assert "secret" not in broken.err


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("", "is no target"),
        ("pinat", "is no target"),
        ("ftp://x.example", "is no target"),
        ("kubo=", "is no target"),
        ("http://api.example/psa", "without TLS"),
        ("https://me:pass-word@api.example", "user or password"),
        ("kubo=me:pass-word@127.0.0.1:5001", "user or password"),
        ("https://api.example/psa?token=pass-word", "query"),
    ],
)
def test_what_is_no_target_is_refused_without_showing_a_secret(
    cli: InProcess, target: str, words: str
) -> None:
    result = cli("publish", "tiny", "--to", target, IPFS_PINNING_TOKEN="token-0123456789")
    assert_fails(result, 2, words)
    assert "pass-word" not in result.err


def test_two_targets_of_a_kind_and_no_network_are_refused(cli: InProcess) -> None:
    two = cli("publish", "tiny", "--to", "kubo", "--to", "kubo=http://127.0.0.1:5002")
    assert_fails(two, 2, "two targets of the kind kubo")
    assert_fails(cli("publish", "tiny", "--to", "kubo", "--offline"), 4, "--offline")


# Pinata


def uploaded(cli: InProcess, pinata: PinataServer, *words: str, **env: str) -> Result:
    env = env or {"PINATA_JWT": pinata.token}
    return cli("publish", "tiny", "--to", "pinata", *words, **env)


def test_pinata_gets_the_files_as_a_directory(large: InProcess, pinata: PinataServer) -> None:
    [target] = document(uploaded(large, pinata, "--json"))["targets"]
    assert (target["kind"], target["state"], target["sent"]) == (
        "pinata",
        "pinned",
        sum(map(len, FILES.values())),
    )
    assert pinata.files == FILES
    assert pinata.fields["pinataOptions"] == {"cidVersion": 1, "wrapWithDirectory": False}
    metadata = pinata.fields["pinataMetadata"]
    assert metadata["name"] == "tiny-1"
    assert {"type", "timestamp"} <= {*metadata["keyvalues"]}
    assert manifest(large).ipfs_cid == LARGE_ROOT
    pinata.asked.clear()
    [again] = document(uploaded(large, pinata, "--json"))["targets"]
    assert again["state"] == "present"
    assert pinata.paths() == ["/data/pinList"]


def test_the_keys_of_pinata_work_too_and_are_never_printed(cli: InProcess, pinata: PinataServer) -> None:
    key, secret = pinata.keys
    result = uploaded(cli, pinata, "-vv", PINATA_API_KEY=key, PINATA_SECRET_KEY=secret)
    assert result.code == 0, result.err
    assert not any(each in result.err for each in pinata.keys)
    assert_fails(cli("publish", "tiny", "--to", "pinata"), 9, "PINATA_JWT")
    assert_fails(cli("publish", "tiny", "--to", "pinata", PINATA_API_KEY=key), 9, "PINATA_SECRET_KEY")
    wrong = uploaded(cli, pinata, "-vv", PINATA_JWT=f"{pinata.token}x")
    assert_fails(wrong, 9, "PINATA_JWT")
    assert pinata.token not in wrong.err + wrong.out


def test_an_upload_that_is_cut_is_sent_again(large: InProcess, pinata: PinataServer) -> None:
    pinata.faults = [Fault("pinFileToIPFS", cut_after=3 * MIB)]
    assert uploaded(large, pinata).code == 0
    assert pinata.files == FILES
    assert pinata.paths().count("/pinning/pinFileToIPFS") == 2


def test_an_upload_whose_answer_is_lost_is_not_sent_again(cli: InProcess, pinata: PinataServer) -> None:
    pinata.faults = [Fault("pinFileToIPFS", is_lost=True)]
    assert uploaded(cli, pinata).code == 0
    assert pinata.paths() == ["/data/pinList", "/pinning/pinFileToIPFS", "/data/pinList"]


@pytest.mark.usefixtures("no_jitter")
def test_a_limit_of_requests_of_pinata_is_waited_for(cli: InProcess, pinata: PinataServer) -> None:
    pinata.faults = [Fault("pinFileToIPFS", 429, {}, {"Retry-After": "0"}), Fault("pinList", 503, {})]
    assert uploaded(cli, pinata).code == 0


def test_an_answer_that_does_not_come_ends_the_run(
    cli: InProcess, pinata: PinataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelfetch.publish.pinata._ANSWER_SECONDS", 0.05)
    pinata.faults = [Fault("pinFileToIPFS", is_silent=True)] * 2
    limits = {"MODELFETCH_NETWORK_STALL_TIMEOUT": "0.05", "MODELFETCH_RETRY_ATTEMPTS": "2"}
    result = uploaded(cli, pinata, PINATA_JWT=pinata.token, **limits)
    assert_fails(result, 6, pinata.host, "Run the command again")
    assert manifest(cli).ipfs_cid is None


def test_a_cid_of_another_profile_is_explained(cli: InProcess, pinata: PinataServer) -> None:
    pinata.profile = UNIXFS_V0_2015
    theirs = directory_cid(SMALL, UNIXFS_V0_2015)
    assert_fails(uploaded(cli, pinata), 5, theirs, ROOT, "--profile unixfs-v0-2015")
    assert manifest(cli).ipfs_cid is None
    again = uploaded(cli, pinata, "--profile", "unixfs-v0-2015")
    assert again.lines == [f"ipfs:{theirs}"]
    assert manifest(cli).ipfs_cid == theirs


@pytest.mark.parametrize("stated", [OTHER_CID, "no CID \x1b[31m"])
def test_an_unknown_cid_is_unknown_and_not_called_damaged(
    cli: InProcess, pinata: PinataServer, stated: str
) -> None:
    pinata.stated = stated
    result = uploaded(cli, pinata)
    assert_fails(result, 5, ROOT, "whether that is the same content is unknown")
    assert "\x1b" not in result.err


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("pinFileToIPFS", 402, {}), "the quota is used up (402)"),
        (Fault("pinFileToIPFS", 403, {"error": "Account storage limit reached"}), "storage limit reached"),
        pytest.param(Fault("pinFileToIPFS", 413, {}), "gets a model in parts", marks=pytest.mark.slow),
        (Fault("pinFileToIPFS", 200, {}), "did not say what it stored"),
        (Fault("pinFileToIPFS", 307, {}, {"Location": "https://elsewhere.example/"}), "redirects (307)"),
    ],
    ids=lambda value: str(getattr(value, "status", "")),
)
def test_refusals_of_an_upload_are_not_retried(
    cli: InProcess, pinata: PinataServer, fault: Fault, words: str
) -> None:
    pinata.faults = [fault]
    assert_fails(uploaded(cli, pinata), 6, words)
    assert pinata.paths().count("/pinning/pinFileToIPFS") == 1
    assert manifest(cli).ipfs_cid is None


# Answers of any form


def anything(random: Random, depth: int = 0) -> Any:
    """A JSON value, with the names and values that the answers of these servers have."""
    words = ["ID", "Keys", "Root", "Cid", "/", "Stats", "Message", "DagStats", "NumBlocks", "error", "reason"]
    words += ["results", "requestid", "status", "pin", "cid", "delegates", "info", "rows", "ipfs_pin_hash"]
    words += ["IpfsHash", "PinErrorMsg", "Addresses", "status_details", "pinned", "queued", ROOT, "Qm", ""]
    kind = random.randrange(7 if depth < 4 else 5)
    if kind == 5:
        return [anything(random, depth + 1) for _ in range(random.randrange(3))]
    if kind == 6:
        return {random.choice(words): anything(random, depth + 1) for _ in range(random.randrange(5))}
    return [None, True, random.choice([0, -1, 2**70, 1e308]), random.choice(words), "\x1b[31m\ud800"][kind]


@pytest.mark.parametrize(
    "seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 12))]
)
def test_answers_of_any_form_end_the_run_as_an_error_of_the_server(
    cli: InProcess, node: KuboNode, service: PinningServer, pinata: PinataServer, seed: int
) -> None:
    random = Random(seed)
    place(cli, "tiny", {"a.bin": b"a"})
    statuses = [200, 200, 200, 200, 202, 400, 404, 409, 500]
    for server in (node, service, pinata):
        server.faults = [
            Fault("", random.choice(statuses), anything(random)) for _ in range(random.randrange(1, 5))
        ]
    secrets = {"IPFS_PINNING_TOKEN": service.token, "PINATA_JWT": pinata.token}
    for target in (f"kubo={node.url}", f"{service.url}/psa", "pinata"):
        words = ("publish", "tiny", "--to", target, "--timeout", "0.1")
        result = cli(*words, MODELFETCH_RETRY_ATTEMPTS="2", **secrets)
        assert result.code in {0, 5, 6, 9, 10}, result.err
        assert "Traceback" not in result.err
        assert "\x1b" not in result.err


# A directory


@pytest.fixture
def directory(cli: InProcess) -> Path:
    root = cli.work / "mine"
    for path, data in SMALL.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    (root / ".hidden").write_bytes(b"hidden")
    return root


def test_a_directory_is_pinned_and_published_without_a_copy(
    cli: InProcess, node: KuboNode, directory: Path
) -> None:
    for data in SMALL.values():
        blob_path(cli, data).unlink()
    dry = document(cli("publish", "./mine", "--dry-run", "--json"))
    assert (dry["model"], dry["cid"], dry["written"]) == ("mine", ROOT, False)
    result = cli("publish", "./mine", "--to", f"kubo={node.url}")
    assert result.code == 0, result.err
    assert result.lines == [f"ipfs:{ROOT}"]
    assert node.pins == [ROOT]
    assert cli.files("blobs") == []
    shown = cli("show", "mine", "--json").document
    assert shown["files"][0]["sha256"] in {digest(data) for data in SMALL.values()}
    again = document(cli("publish", "./mine", "--json"))
    assert (again["model"], again["written"]) == ("mine", False)
    (directory / "big.bin").write_bytes(DATA[::-1])
    assert_fails(cli("publish", "./mine"), 5, "big.bin", "modelfetch upgrade mine")


def test_in_a_project_a_directory_is_pinned_for_the_project(cli: InProcess, directory: Path) -> None:
    (cli.work / "modelfetch.toml").write_text("")
    result = cli("publish", f"./{directory.name}")
    assert result.code == 0, result.err
    assert result.stderr_lines("added mine to models in")
    assert load_manifest(cli.work / "models" / "mine.toml").ipfs_cid == ROOT


def test_a_single_file_is_published_as_a_directory_of_one(cli: InProcess, directory: Path) -> None:
    found = document(cli("publish", f"./{directory.name}/big.bin", "--json"))
    assert (found["model"], found["cid"]) == ("big", directory_cid({"big.bin": DATA}))


def test_a_directory_that_is_not_there_is_named(cli: InProcess) -> None:
    assert_fails(cli("publish", "./nowhere"), 3, "nowhere")


# The history


def test_the_run_and_the_cids_are_recorded(cli: InProcess, node: KuboNode) -> None:
    assert_fails(cli("publish", "tiny", "--to", "kubo=http://127.0.0.1:9"), 6)
    assert cli("publish", "tiny", "--to", f"kubo={node.url}").code == 0
    runs = cli("history", "--json").document["runs"]
    assert [(run["operation"], run["models"], run["outcome"], run["exit_code"]) for run in runs] == [
        ("publish", ["tiny"], "completed", 0),
        ("publish", ["tiny"], "failed", 6),
    ]
    with sqlite3.connect(cli.cache / "state.db") as database:
        rows = dict(database.execute("SELECT file, cid FROM cids"))
        digests = dict(database.execute("SELECT file, sha256 FROM cids"))
    assert rows == {"": ROOT, **cids(cli)}
    assert digests["big.bin"] == digest(DATA)
