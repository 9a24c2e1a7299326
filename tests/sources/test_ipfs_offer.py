"""Files from gateways: leaf tables, ranges, CAR files, single blocks, and gateways that misbehave."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.errors import Fault, SourceError
from modelfetch.ipfs.cid import DAG_PB, RAW, Cid, cid_of
from modelfetch.ipfs.profiles import Profile
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.net.client import Client
from modelfetch.net.responses import Unranged
from modelfetch.net.time_limits import Limits
from modelfetch.sources.ipfs import IpfsSource
from modelfetch.sources.ipfs_content import NoTableError
from modelfetch.sources.ipfs_offer import GatewayOffer
from tests.engine.fakes import TickingClock
from tests.gateways.dags import SHARDED, SMALL, SMALL_OLD, Dag, random_bytes
from tests.gateways.gateway import CAR_TYPE, Gateway, Status
from tests.gateways.reading import WrongRowError, narrowed, offers_of, read, read_checked
from tests.patience import HELD

DATA = random_bytes(10_500)
"""Eleven leaves of at most 1,000 bytes, under four nodes and the root."""
ZEROS = bytes(6000)
EMPTY = Cid.parse("bafkqaaa")
UNSERVED = Status(406, body=b"not acceptable")


@pytest.fixture
def dag() -> Dag:
    return Dag()


@pytest.fixture
def gateway(dag: Dag) -> Iterator[Gateway]:
    with Gateway(dag) as gateway:
        yield gateway


def leaf(index: int) -> bytes:
    """The multihash of a raw leaf of DATA."""
    return cid_of(DATA[index * 1000 : index * 1000 + 1000], RAW).multihash


def fails(gateway: Gateway, client: Client, cid: Cid, start: int = 0) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read_checked(offers_of(client, [gateway.url], DATA, cid)[0], start)
    return caught.value


@pytest.mark.quick(every=5)
@pytest.mark.parametrize("start", [0, 1, 999, 1000, 5500, 10_499])
@pytest.mark.parametrize("profile", [SMALL, SMALL_OLD], ids=["raw leaves", "wrapped leaves"])
@pytest.mark.parametrize("way", ["file", "car"])
def test_bytes_from_an_offset_on(
    client: Client, gateway: Gateway, dag: Dag, start: int, profile: Profile, way: str
) -> None:
    cid = dag.file(DATA, profile)
    if way == "car":
        gateway.faults.refuses = {"file": UNSERVED}
    [offer] = offers_of(client, [gateway.url], DATA, cid)
    assert read_checked(offer, start) == DATA[start:]
    assert len(gateway.targets("raw")) == 4 + (way == "car" and start > 9000)


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("end", [1, 1000, 1001, 5000, 10_500])
@pytest.mark.parametrize("way", ["file", "car"])
def test_a_part_in_the_middle(client: Client, gateway: Gateway, dag: Dag, end: int, way: str) -> None:
    cid = dag.file(DATA)
    if way == "car":
        gateway.faults.ignores_range = True
    [offer] = offers_of(client, [gateway.url], DATA, cid)
    start = max(1, end - 3500)
    assert read(offer, start, end) == DATA[start:end][: end - start]


def test_the_fields_of_a_node_may_come_in_either_order(client: Client, gateway: Gateway, dag: Dag) -> None:
    data = DATA[:3500]
    cid = dag.file(data, data_first=True)
    assert cid != dag.file(data)
    [offer] = offers_of(client, [gateway.url], data, cid)
    assert read_checked(offer) == data
    gateway.faults.refuses = {"file": UNSERVED}
    assert read_checked(offers_of(client, [gateway.url], data, cid)[0]) == data


def test_inner_nodes_are_requested_once_for_all_gateways(client: Client, gateway: Gateway, dag: Dag) -> None:
    cid = dag.file(DATA)
    with Gateway(dag) as other:
        first, second = offers_of(client, [gateway.url, other.url], DATA, cid)
        gateway.replies = [Status(404)]
        with pytest.raises(SourceError):
            first.leaf_table()
        assert second.leaf_table() is first.leaf_table()
        assert len(other.targets("raw")) == 4
        assert gateway.targets("file") == other.targets("file") == []


def test_a_file_of_one_block_needs_no_table(client: Client, gateway: Gateway, dag: Dag) -> None:
    data = DATA[:1000]
    [offer] = offers_of(client, [gateway.url], data, dag.file(data))
    assert len(offer.leaf_table().rows) == 1
    assert gateway.requests == []
    assert read_checked(offer) == data


def test_requests_say_what_is_wanted_twice(client: Client, gateway: Gateway, dag: Dag) -> None:
    cid = dag.file(DATA)
    gateway.faults.ignores_range = True
    read_checked(offers_of(client, [gateway.url], DATA, cid)[0], 1500)
    block, *_, file, car = gateway.requests
    assert block.target == f"/ipfs/{cid.text}?format=raw"
    assert block.headers["accept"] == "application/vnd.ipld.raw"
    assert file.headers["range"] == "bytes=1500-10499"
    assert car.target == f"/ipfs/{cid.text}?format=car&dag-scope=entity&entity-bytes=1500:10499"
    assert car.headers["accept"] == CAR_TYPE
    assert {each.headers["accept-encoding"] for each in gateway.requests} == {"identity"}


def test_cids_of_version_0_are_sent_in_version_1(client: Client, gateway: Gateway, dag: Dag) -> None:
    cid = dag.file(DATA, SMALL_OLD)
    assert cid.version == 0
    read_checked(offers_of(client, [gateway.url], DATA, cid)[0])
    assert all(each.target.startswith("/ipfs/bafybei") for each in gateway.requests)


# Directories


def test_a_path_is_resolved_by_verified_blocks(client: Client, gateway: Gateway, dag: Dag) -> None:
    root = dag.directory({"onnx": dag.directory({"a b.bin": dag.file(DATA)})})
    [offer] = offers_of(client, [gateway.url], DATA, root, "onnx/a b.bin")
    assert offer.leaf_table().root == dag.file(DATA)
    assert read_checked(offer) == DATA
    assert gateway.targets("file") == [f"/ipfs/{root.text}/onnx/a%20b.bin"]
    gateway.faults.refuses = {"file": UNSERVED}
    assert read_checked(offers_of(client, [gateway.url], DATA, root, "onnx/a b.bin")[0]) == DATA


def test_a_path_in_a_sharded_directory(client: Client, gateway: Gateway, dag: Dag) -> None:
    file = dag.file(DATA)
    root = dag.directory({f"{number}.bin": file for number in range(100)}, SHARDED)
    [offer] = offers_of(client, [gateway.url], DATA, root, "71.bin")
    assert read_checked(offer) == DATA
    assert gateway.targets("raw")[0] == f"/ipfs/{root.text}?format=raw"


def test_a_directory_is_read_once_for_all_files(client: Client, gateway: Gateway, dag: Dag) -> None:
    other = DATA[::-1]
    root = dag.directory({"a.bin": dag.file(DATA), "b.bin": dag.file(other)})
    files = [file_of(data, path) for data, path in ((DATA, "a.bin"), (other, "b.bin"))]
    source, model = IpfsSource(client, [gateway.url]), Manifest("m", "1", tuple(files), ipfs_cid=root.text)
    for file in files:
        [offer] = source.offers(model, file)
        narrowed(offer).leaf_table()
    assert gateway.targets("raw").count(f"/ipfs/{root.text}?format=raw") == 1


def test_a_path_that_is_not_there(client: Client, gateway: Gateway, dag: Dag) -> None:
    root = dag.directory({"a.bin": dag.file(DATA)})
    first, second = offers_of(client, [gateway.url, "http://127.0.0.1:9"], DATA, root, "b.bin")
    for offer in (first, second):  # the second one needs no request to know
        with pytest.raises(NoTableError, match="not in the directory of the manifest") as caught:
            offer.leaf_table()
        assert caught.value.fault is Fault.NOT_FOUND


# Wrong manifests


def test_a_cid_of_a_file_of_another_size(client: Client, gateway: Gateway, dag: Dag) -> None:
    [offer] = offers_of(client, [gateway.url], DATA, dag.file(DATA), size=10_000)
    for _ in range(2):
        with pytest.raises(NoTableError, match="does not lead to this file"):
            offer.leaf_table()
    assert len(gateway.requests) == 1


def test_a_block_that_is_no_file(client: Client, gateway: Gateway, dag: Dag) -> None:
    [offer] = offers_of(client, [gateway.url], DATA, dag.put(b"no file"))
    with pytest.raises(NoTableError):
        offer.leaf_table()


def test_one_block_that_is_too_large_for_a_table(client: Client, gateway: Gateway, dag: Dag) -> None:
    data = bytes(2**21 + 1)
    [offer] = offers_of(client, [gateway.url], data, dag.put(data, RAW))
    with pytest.raises(NoTableError):
        offer.leaf_table()
    assert read(offer) == data  # the SHA-256 of the file proves it all the same


# Gateways that misbehave


def test_a_wrong_byte_in_a_file_is_found_in_its_row(client: Client, gateway: Gateway, dag: Dag) -> None:
    gateway.faults.wrong = {leaf(3)}
    cid = dag.file(DATA)
    with pytest.raises(WrongRowError, match="3000"):
        read_checked(offers_of(client, [gateway.url], DATA, cid)[0])


@pytest.mark.parametrize("way", ["car", "raw"])
def test_a_wrong_block_is_blamed_and_what_precedes_it_is_good(
    client: Client, gateway: Gateway, dag: Dag, way: str
) -> None:
    gateway.faults.wrong, gateway.faults.ignores_range = {leaf(3)}, True
    offer = offers_of(client, [gateway.url], DATA, dag.file(DATA))[0]
    start, end = (1000, None) if way == "car" else (2500, 3500)
    found, error = read_until_error(offer, start, end)
    assert error.fault is Fault.HASH
    assert "block that does not match its CID" in error.message
    assert found == DATA[start:3000]


def read_until_error(offer: GatewayOffer, start: int, end: int | None) -> tuple[bytes, SourceError]:
    """Read a stream that fails; returns what it yielded before."""
    found = bytearray()
    with closing(offer.open(start, end)) as stream:
        try:
            for piece in stream:
                found += piece
        except SourceError as error:
            return bytes(found), error
    raise AssertionError


def test_a_wrong_inner_node_is_blamed(client: Client, gateway: Gateway, dag: Dag) -> None:
    cid = dag.file(DATA)
    gateway.faults.wrong = {cid.multihash}
    assert fails(gateway, client, cid).fault is Fault.HASH
    gateway.faults.raw_type = "text/html; charset=utf-8"
    error = fails(gateway, client, cid)
    assert (error.fault, error.message) == (Fault.PROTOCOL, "sent text/html instead of a block")


def test_a_missing_block_and_a_clean_end(client: Client, gateway: Gateway, dag: Dag) -> None:
    cid = dag.file(DATA)
    gateway.faults.refuses, gateway.faults.missing = {"file": UNSERVED}, {leaf(5)}
    [offer] = offers_of(client, [gateway.url], DATA, cid)
    found, error = read_until_error(offer, 0, None)
    assert (error.fault, error.retry) == (Fault.NOT_FOUND, False)
    assert "that at 5000 of 10500 is missing" in error.message
    assert found == DATA[:5000]


@pytest.mark.parametrize(
    ("tail", "fault"),
    [
        (b"ipld: could not find bafy", Fault.CUT),
        (b"\x30\x01\x55\x12", Fault.CUT),
        (b"\xff" * 12, Fault.PROTOCOL),
        (b"\0", Fault.PROTOCOL),
    ],
    ids=["text", "part of a section", "length", "empty section"],
)
def test_what_follows_the_last_block_is_no_block(
    client: Client, gateway: Gateway, dag: Dag, tail: bytes, fault: Fault
) -> None:
    cid = dag.file(DATA)
    gateway.faults.refuses, gateway.faults.missing = {"file": UNSERVED}, {leaf(5)}
    gateway.faults.tail = tail
    error = fails(gateway, client, cid, 1000)
    assert error.fault is fault
    assert "sent a broken CAR file" in error.message
    if fault is Fault.CUT:  # a retry that brings nothing says that the block is missing
        assert fails(gateway, client, cid, 5000).fault is Fault.NOT_FOUND


def test_a_header_alone(client: Client, gateway: Gateway, dag: Dag) -> None:
    gateway.faults.ignores_range = gateway.faults.header_only = True
    # The block at 1000 alone was sent; then neither an answer for the range nor one for the file has more.
    assert "that at 2000 of 10500 is missing" in fails(gateway, client, dag.file(DATA), 1000).message
    assert len(gateway.targets("car")) == 2


def test_car_files_of_version_2(client: Client, gateway: Gateway, dag: Dag) -> None:
    gateway.faults.ignores_range, gateway.faults.version = True, 2
    error = fails(gateway, client, dag.file(DATA), 1000)
    assert error.fault is Fault.PROTOCOL
    assert "version 2" in error.message


def test_a_page_instead_of_a_car_file(client: Client, gateway: Gateway, dag: Dag) -> None:
    page = Status(200, {"Content-Type": "text/html"}, b"<!doctype html><title>Index")
    gateway.faults.ignores_range, gateway.faults.refuses = True, {"car": page}
    assert "sent text/html instead of a CAR file" in fails(gateway, client, dag.file(DATA), 1000).message


def test_a_cut_connection_may_be_retried(client: Client, gateway: Gateway, dag: Dag) -> None:
    cid = dag.file(DATA)
    [offer] = offers_of(client, [gateway.url], DATA, cid)
    offer.leaf_table()
    gateway.faults.refuses, gateway.faults.cut = {"file": UNSERVED}, 3000
    with pytest.raises(SourceError) as caught:
        read(offer)
    assert (caught.value.fault, caught.value.retry) == (Fault.CUT, True)


def test_a_stall_ends(gateway: Gateway, dag: Dag) -> None:
    cid, clock = dag.file(DATA), TickingClock()
    with closing(Client(Limits(HELD, HELD), Cancellation(), clock)) as client:
        [offer] = offers_of(client, [gateway.url], DATA, cid)
        offer.leaf_table()
        gateway.faults.refuses, gateway.faults.stall = {"file": UNSERVED}, 3000
        with closing(offer.open(0)) as stream:
            pieces = iter(stream)
            assert next(pieces)
            clock.step = HELD - 0.1
            with pytest.raises(SourceError) as caught:
                list(pieces)
    assert caught.value.fault is Fault.STALL


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
@pytest.mark.parametrize("profile", [SMALL, SMALL_OLD], ids=["raw leaves", "wrapped leaves"])
def test_blocks_in_any_order(
    client: Client, gateway: Gateway, dag: Dag, order: str, profile: Profile
) -> None:
    cid = dag.file(DATA, profile)
    gateway.faults.refuses, gateway.faults.order = {"file": UNSERVED}, order
    gateway.faults.car_type = "application/vnd.ipld.car"
    assert read_checked(offers_of(client, [gateway.url], DATA, cid)[0]) == DATA


def test_an_order_that_needs_too_much_memory(
    client: Client, gateway: Gateway, dag: Dag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelfetch.sources.ipfs_streams.HELD_BYTES", 3000)
    cid = dag.file(DATA)
    gateway.faults.refuses, gateway.faults.order = {"file": UNSERVED}, "reversed"
    error = fails(gateway, client, cid)
    assert (error.fault, error.retry) == (Fault.PROTOCOL, False)
    assert "another order" in error.message


def test_repeated_leaves_that_are_sent_once(client: Client, gateway: Gateway, dag: Dag) -> None:
    data = (DATA[:2000] + ZEROS[:1000] + DATA[2000:4000] + ZEROS[:2000]) * 3
    cid = dag.file(data)
    gateway.faults.refuses, gateway.faults.repeats = {"file": UNSERVED}, False
    gateway.faults.car_type = "application/vnd.ipld.car; version=1; order=dfs; dups=n"
    assert read_checked(offers_of(client, [gateway.url], data, cid)[0]) == data


def test_a_file_of_zeros_is_complete_with_its_first_leaf(client: Client, gateway: Gateway, dag: Dag) -> None:
    cid = dag.file(ZEROS)
    gateway.faults.refuses = {"file": UNSERVED}
    assert read_checked(offers_of(client, [gateway.url], ZEROS, cid)[0]) == ZEROS


def test_a_gateway_that_ignores_the_range_of_a_car_file(client: Client, gateway: Gateway, dag: Dag) -> None:
    cid = dag.file(DATA)
    gateway.faults.ignores_range = gateway.faults.ignores_entity_bytes = True
    [offer] = offers_of(client, [gateway.url], DATA, cid)
    assert read(offer, 7100) == DATA[7100:]


def test_a_gateway_that_leaves_out_blocks_of_a_range(client: Client, gateway: Gateway, dag: Dag) -> None:
    cid = dag.file(DATA)
    gateway.faults.ignores_range, gateway.faults.gaps = True, {leaf(4), leaf(6)}
    assert read_checked(offers_of(client, [gateway.url], DATA, cid)[0], 2000) == DATA[2000:]
    assert len(gateway.targets("car")) == 2
    assert len(gateway.targets("raw")) == 4 + 1


def test_a_block_that_is_too_large(client: Client, gateway: Gateway, dag: Dag) -> None:
    cid = dag.file(DATA)
    gateway.faults.refuses = {"raw": Status(200, {}, bytes(2**21 + 1))}
    assert fails(gateway, client, cid).fault is Fault.SIZE
    assert gateway.sent < 2**22


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    ("status", "fault", "retry"),
    [
        (Status(400), Fault.PROTOCOL, False),
        (Status(401), Fault.NOT_FOUND, False),
        (Status(403), Fault.NOT_FOUND, False),
        (Status(404), Fault.NOT_FOUND, False),
        (Status(406), Fault.PROTOCOL, False),
        (Status(410), Fault.NOT_FOUND, False),
        (Status(412), Fault.NOT_FOUND, False),
        (Status(429, {"Retry-After": "7"}), Fault.BUSY, True),
        (Status(451), Fault.NOT_FOUND, False),
        (Status(500, body=b"ipld: could not find node"), Fault.NOT_FOUND, False),
        (Status(500, body=b"oops"), Fault.SERVER, True),
        (Status(502), Fault.SERVER, True),
        (Status(503, {"Retry-After": "7"}), Fault.BUSY, True),
        (Status(504), Fault.SERVER, True),
        (Status(301, {"Location": "ftp://a.example/"}), Fault.NOT_FOUND, False),
    ],
    ids=lambda value: f"{value.status}" if isinstance(value, Status) else "",
)
@pytest.mark.parametrize("way", ["raw", "file", "car"])
def test_statuses(
    client: Client, gateway: Gateway, dag: Dag, status: Status, fault: Fault, retry: bool, way: str
) -> None:
    cid = dag.file(DATA)
    gateway.faults.refuses = {way: status, **({"file": UNSERVED} if way == "car" else {})}
    if way == "file" and status.status in (400, 406, 412):
        gateway.faults.refuses |= {"car": status}  # files are not all that a gateway may send
    error = fails(gateway, client, cid)
    if way == "car" and fault is Fault.PROTOCOL:
        assert "406" in error.message or "400" in error.message
    else:
        assert error.fault is fault
    assert error.retry is retry
    if fault is Fault.BUSY:
        assert error.retry_after == 7
    assert not error.hint


def test_a_denied_file_says_so(client: Client, gateway: Gateway, dag: Dag) -> None:
    cid = dag.file(DATA)
    for status, words in ((410, "permanently removed (410)"), (451, "withheld for legal reasons (451)")):
        gateway.replies = [Status(status)]
        assert fails(gateway, client, cid).message == words


@pytest.mark.parametrize("way", ["file", "car"])
def test_a_redirect_to_a_subdomain(client: Client, gateway: Gateway, dag: Dag, way: str) -> None:
    cid = dag.file(DATA)
    gateway.faults.to_subdomain = True
    gateway.faults.ignores_range = way == "car"
    [offer] = offers_of(client, [gateway.url], DATA, cid)
    assert read_checked(offer, 1500) == DATA[1500:]
    hosts = {each.headers["host"].partition(".")[0] for each in gateway.requests}
    assert cid.text in hosts


# Gateways that send no ranges


def test_a_range_that_is_ignored_is_requested_as_a_car_file(
    client: Client, gateway: Gateway, dag: Dag
) -> None:
    gateway.faults.ignores_range = True
    [offer] = offers_of(client, [gateway.url], DATA, dag.file(DATA))
    assert read_checked(offer) == DATA  # from the beginning the whole file is as good
    assert gateway.targets("car") == []
    assert read(offer, 2000) == DATA[2000:]
    assert read(offer, 3000) == DATA[3000:]
    assert [len(gateway.targets(form)) for form in ("file", "car")] == [2, 2]


def test_a_short_range_is_requested_block_by_block(client: Client, gateway: Gateway, dag: Dag) -> None:
    gateway.faults.ignores_range = True
    cid = dag.file(DATA)
    [offer] = offers_of(client, [gateway.url], DATA, cid)
    offer.leaf_table()
    gateway.requests.clear()
    assert read(offer, 3100, 4900) == DATA[3100:4900]
    assert len(gateway.targets("raw")) == 2
    assert gateway.targets("car") == []


def test_a_gateway_with_neither_ranges_nor_blocks(client: Client, gateway: Gateway, dag: Dag) -> None:
    gateway.faults.ignores_range = True
    gateway.faults.refuses = {"car": UNSERVED, "raw": UNSERVED}
    [offer] = offers_of(client, [gateway.url], DATA, dag.file(DATA))
    with closing(offer.open(2000)) as stream:
        assert (stream.start, stream.ranged) == (0, False)
        assert b"".join(stream) == DATA
    with pytest.raises(Unranged):
        offer.open(2000, 3000)


def test_a_gateway_without_files_is_known_for_the_next_one(
    client: Client, gateway: Gateway, dag: Dag
) -> None:
    gateway.faults.refuses = {"file": UNSERVED}
    files = [file_of(data, path, dag.file(data).text) for data, path in ((DATA, "a"), (DATA[::-1], "b"))]
    source, model = IpfsSource(client, [gateway.url]), Manifest("m", "1", tuple(files))
    for file, data in zip(files, (DATA, DATA[::-1]), strict=True):
        assert read_checked(narrowed(source.offers(model, file)[0])) == data
    assert len(gateway.targets("file")) == 1


# Which gateways


def file_of(data: bytes, path: str, cid: str | None = None) -> FileSpec:
    return FileSpec(path, len(data), hashlib.sha256(data).hexdigest(), cid=cid)


@pytest.mark.parametrize(
    ("urls", "hosts"),
    [
        (["https://ipfs.io", "https://dweb.link", "https://a.example"], ["ipfs.io", "a.example"]),
        (["https://trustless-gateway.link", "https://ipfs.io"], ["trustless-gateway.link"]),
        (["https://a.example", "https://w3s.link", "https://dweb.link/"], ["a.example", "w3s.link"]),
        (["https://notipfs.io", "https://ipfs.io"], ["notipfs.io", "ipfs.io"]),
        (["https://a.example", "https://b.a.example"], ["a.example", "b.a.example"]),
    ],
)
def test_hosts_of_one_backend_count_as_one(client: Client, urls: list[str], hosts: list[str]) -> None:
    cid = cid_of(b"root", DAG_PB)
    assert [offer.host for offer in offers_of(client, urls, DATA, cid)] == hosts


def test_a_node_on_this_machine_comes_first(client: Client, dag: Dag) -> None:
    file = file_of(DATA, "a", dag.file(DATA).text)
    dag[EMPTY.multihash] = b""
    with Gateway(dag) as node:
        source = IpfsSource(client, ["https://a.example"], node.url)
        for _ in range(2):
            offers = source.offers(Manifest("m", "1", (file,)), file)
            assert [offer.host for offer in offers] == [f"127.0.0.1:{node.port}", "a.example"]
        assert [each.target for each in node.requests] == ["/ipfs/bafkqaaa?format=raw"]


def test_another_program_there_is_left_alone(client: Client, dag: Dag) -> None:
    file = file_of(DATA, "a", dag.file(DATA).text)
    page = Status(200, {"Content-Type": "text/html"}, b"<!doctype html>")
    for said in (page, Status(404), Status(302, {"Location": "/login"})):
        with Gateway(dag) as node:
            node.faults.refuses = {"raw": said}
            offers = IpfsSource(client, ["https://a.example"], node.url).offers(
                Manifest("m", "1", (file,)), file
            )
            assert [offer.host for offer in offers] == ["a.example"]


def test_without_gateways_no_node_is_looked_for(client: Client, dag: Dag) -> None:
    file = file_of(DATA, "a", dag.file(DATA).text)
    with Gateway(dag) as node:
        assert not IpfsSource(client, [], node.url).offers(Manifest("m", "1", (file,)), file)
        for named in (node.url, f"http://localhost:{node.port}"):
            offers = IpfsSource(client, [named], node.url).offers(Manifest("m", "1", (file,)), file)
            assert len(offers) == 1
        assert node.requests == []
