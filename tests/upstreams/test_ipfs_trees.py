"""Files and directories on IPFS: all that is pinned comes from verified blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from modelfetch.errors import ModelfetchError, UnavailableError, UnknownModelError, UsageError
from modelfetch.ipfs.cid import RAW, Cid, cid_of
from modelfetch.model.reference import IpfsReference
from modelfetch.net.hub_client import HubClient
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.ipfs import Ipfs
from tests.gateways.dags import SHARDED, SMALL_OLD, Dag, random_bytes
from tests.gateways.gateway import Gateway, Status
from tests.upstreams.conftest import Waits

DATA = random_bytes(10_500)
SMALL = DATA[:500]


@pytest.fixture
def dag() -> Dag:
    return Dag()


@pytest.fixture
def gateways(dag: Dag) -> Iterator[list[Gateway]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Gateway(dag)) for _ in range(2)]


@pytest.fixture
def ipfs(hub: HubClient, gateways: list[Gateway]) -> Ipfs:
    return Ipfs(hub, [gateway.url for gateway in gateways])


def read(ipfs: Ipfs, file: UpstreamFile) -> bytes:
    with ipfs.open(file) as pieces:
        return b"".join(pieces)


def fails(ipfs: Ipfs, cid: Cid, path: str = "") -> ModelfetchError:
    with pytest.raises(ModelfetchError) as caught:
        ipfs.resolve(IpfsReference(cid.text, path))
    return caught.value


def facts(listing: Listing) -> list[tuple[str, int | None, str | None]]:
    assert listing.stated_by == "computed"
    assert {file.sha256 for file in listing.files} == {None}
    return [(file.path, file.size, file.cid) for file in listing.files]


def leaf(index: int) -> bytes:
    return cid_of(DATA[index * 1000 : index * 1000 + 1000], RAW).multihash


def test_a_file(ipfs: Ipfs, dag: Dag) -> None:
    cid = dag.file(DATA)
    listing = ipfs.resolve(IpfsReference(cid.text))
    assert facts(listing) == [(cid.text, 10_500, cid.text)]
    assert read(ipfs, listing.files[0]) == DATA


def test_a_file_of_cids_of_version_0(ipfs: Ipfs, dag: Dag) -> None:
    cid = dag.file(DATA, SMALL_OLD)
    [file] = ipfs.resolve(IpfsReference(cid.text)).files
    assert (file.size, file.cid) == (10_500, cid.to_v1().text)
    assert read(ipfs, file) == DATA


def test_a_file_in_a_directory_has_its_own_cid(ipfs: Ipfs, dag: Dag) -> None:
    file = dag.file(DATA)
    root = dag.directory({"onnx": dag.directory({"model-a.onnx": file})})
    listing = ipfs.resolve(IpfsReference(root.text, "onnx/model-a.onnx"))
    assert facts(listing) == [("model-a.onnx", 10_500, file.text)]
    assert listing.name == "model-a"
    assert listing.reference.text == f"ipfs:{root.text}/onnx/model-a.onnx"


def test_a_directory_is_walked(ipfs: Ipfs, dag: Dag) -> None:
    root = dag.directory(
        {
            "model.onnx": dag.file(DATA),
            "conf": dag.directory({"a.json": dag.file(SMALL), "old.json": dag.file(SMALL, SMALL_OLD)}),
            "empty": dag.file(b""),
            "nothing": dag.directory({}),
        }
    )
    listing = ipfs.resolve(IpfsReference(root.text))
    assert [(file.path, file.size) for file in listing.files] == [
        ("conf/a.json", 500),
        ("conf/old.json", 500),
        ("empty", 0),
        ("model.onnx", 10_500),
    ]
    assert listing.name == root.text
    assert [read(ipfs, file) for file in listing.files] == [SMALL, SMALL, b"", DATA]
    below = ipfs.resolve(IpfsReference(root.text, "conf"))
    assert ([file.path for file in below.files], below.name) == (["a.json", "old.json"], "conf")


def test_a_sharded_directory(ipfs: Ipfs, dag: Dag) -> None:
    entries = {f"{number:03}.bin": dag.file(random_bytes(100, number)) for number in range(60)}
    root = dag.directory(entries, SHARDED)
    listing = ipfs.resolve(IpfsReference(root.text))
    assert [file.path for file in listing.files] == sorted(entries)
    assert read(ipfs, listing.files[7]) == random_bytes(100, 7)
    [file] = ipfs.resolve(IpfsReference(root.text, "059.bin")).files
    assert read(ipfs, file) == random_bytes(100, 59)


def test_the_next_gateway_continues_where_one_failed(ipfs: Ipfs, gateways: list[Gateway], dag: Dag) -> None:
    cid = dag.file(DATA)
    [file] = ipfs.resolve(IpfsReference(cid.text)).files
    gateways[0].faults.wrong = {leaf(4)}
    assert read(ipfs, file) == DATA
    assert [each.headers["range"] for each in gateways[1].requests if each.form == "file"] == [
        "bytes=4000-10499"
    ]


def test_a_cut_connection_is_continued(ipfs: Ipfs, gateways: list[Gateway], dag: Dag, waits: Waits) -> None:
    [file] = ipfs.resolve(IpfsReference(dag.file(DATA).text)).files
    gateways[0].faults.cut = 6500
    assert read(ipfs, file) == DATA
    ranges = [each.headers["range"] for each in gateways[0].requests if each.form == "file"]
    assert ranges == ["bytes=0-10499", "bytes=6000-10499"]
    assert len(waits.seconds) == 1


def test_wrong_blocks_never_reach_the_pin(ipfs: Ipfs, gateways: list[Gateway], dag: Dag) -> None:
    cid = dag.file(DATA)
    for gateway in gateways:
        gateway.faults.wrong = {cid.multihash}
    error = fails(ipfs, cid)
    assert isinstance(error, UnavailableError)
    assert error.message.count("sent a block that does not match its CID") == 2
    gateways[1].faults.wrong = set()
    assert ipfs.resolve(IpfsReference(cid.text)).files[0].size == 10_500


@pytest.mark.parametrize("said", [Status(404), Status(504), Status(429), Status(200, {}, b"x")])
def test_the_next_gateway_is_asked_at_once(
    ipfs: Ipfs, gateways: list[Gateway], dag: Dag, said: Status, waits: Waits
) -> None:
    gateways[0].faults.refuses = {"raw": said, "file": said}
    [file] = ipfs.resolve(IpfsReference(dag.file(DATA).text)).files
    assert read(ipfs, file) == DATA
    assert waits.seconds == []


def test_no_gateway_has_it(ipfs: Ipfs, dag: Dag) -> None:
    error = fails(ipfs, cid_of(b"unknown", 0x70))
    assert isinstance(error, UnavailableError)
    assert error.message.count("not found") == 2


def test_no_gateway_sends_all_of_it(ipfs: Ipfs, gateways: list[Gateway], dag: Dag) -> None:
    [file] = ipfs.resolve(IpfsReference(dag.file(DATA).text)).files
    for gateway in gateways:
        gateway.faults.missing = {leaf(4)}
    with pytest.raises(UnavailableError, match="not found"):
        read(ipfs, file)


def test_no_gateway_is_configured(hub: HubClient, dag: Dag) -> None:
    assert "no gateway is configured" in fails(Ipfs(hub, []), dag.file(DATA)).message


def test_a_name_that_is_not_there(ipfs: Ipfs, dag: Dag) -> None:
    root = dag.directory({"a.bin": dag.file(DATA)})
    for path in ("b.bin", "A.bin", "a.bin/c"):
        assert isinstance(fails(ipfs, root, path), UnknownModelError)


@pytest.mark.parametrize("path", ["../a", "a b", "a/../b"])
def test_a_path_that_no_manifest_can_have(ipfs: Ipfs, gateways: list[Gateway], dag: Dag, path: str) -> None:
    assert isinstance(fails(ipfs, dag.directory({}), path), UsageError)
    assert gateways[0].requests == []


def test_what_cannot_be_pinned(ipfs: Ipfs, dag: Dag) -> None:
    assert "directory without files" in fails(ipfs, dag.directory({"a": dag.directory({})})).message
    assert isinstance(fails(ipfs, dag.put(b"no node")), UsageError)


def test_a_raw_block_in_a_directory_whose_stated_size_is_wrong(ipfs: Ipfs, dag: Dag) -> None:
    root = dag.directory({"a.bin": dag.file(SMALL)})
    [file] = ipfs.resolve(IpfsReference(root.text)).files
    assert hashlib.sha256(read(ipfs, file)).hexdigest() == hashlib.sha256(SMALL).hexdigest()
