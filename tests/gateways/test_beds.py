"""Files through gateways of other authors: as they are, and with the faults of real ones on top."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.errors import Fault, SourceError
from modelfetch.ipfs import car
from modelfetch.ipfs.cid import Cid
from modelfetch.ipfs.profiles import UNIXFS_V0_2015, UNIXFS_V1_2025
from modelfetch.net.client import Client
from modelfetch.net.time_limits import Limits
from tests.gateways import beds
from tests.gateways.dags import SHARDED, Dag, random_bytes
from tests.gateways.gateway import Status
from tests.gateways.proxy import Proxy
from tests.gateways.reading import WrongRowError, offers_of, read, read_checked
from tests.patience import HELD

DATA = random_bytes(5_500_000)
MIB = 1 << 20

pytestmark = pytest.mark.slow


def write(path: Path, dag: Dag, root: Cid, without: frozenset[bytes] = frozenset()) -> Path:
    """Write all blocks but some, as a CAR file."""
    blocks = (
        car.section(Cid.from_binary(b"\x01\x70" + key), block)
        for key, block in dag.items()
        if key not in without
    )
    path.write_bytes(car.header(root) + b"".join(blocks))
    return path


class Laboratory:
    """A gateway of another author, with faults in front of it."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.dag = Dag()
        self.v1 = self.dag.file(DATA, UNIXFS_V1_2025)
        self.swapped = self.dag.file(DATA, UNIXFS_V1_2025, data_first=True)
        self.v0 = self.dag.file(DATA, UNIXFS_V0_2015)
        self.directory = self.dag.directory({f"{number:02}.bin": self.v1 for number in range(40)}, SHARDED)
        self.partial = self.dag.file(DATA[::-1], UNIXFS_V1_2025)
        self.missing = [cid.multihash for cid, _ in self.dag.walk(self.partial)][3]
        self.car = write(path / "blocks.car", self.dag, self.v1, frozenset({self.missing}))
        self.bed = beds.Bed(name, self.car)


@pytest.fixture(scope="module", params=beds.NAMES)
def laboratory(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Laboratory]:
    if why := beds.why_absent(request.param):
        pytest.skip(why)
    laboratory = Laboratory(request.param, tmp_path_factory.mktemp("bed"))
    with laboratory.bed:
        yield laboratory


@pytest.fixture
def proxy(laboratory: Laboratory) -> Iterator[Proxy]:
    with Proxy(laboratory.bed.port) as proxy:
        yield proxy


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client(Limits(connect_timeout=HELD, stall_timeout=HELD), Cancellation())
    yield client
    client.close()


@pytest.mark.parametrize("which", ["v1", "v0", "swapped"])
@pytest.mark.parametrize("start", [0, 1, 3 * MIB + 5])
@pytest.mark.parametrize("way", ["file", "car"])
def test_a_file(
    client: Client, laboratory: Laboratory, proxy: Proxy, which: str, start: int, way: str
) -> None:
    if way == "car":
        proxy.faults.refuses = {"file": Status(406)}
    [offer] = offers_of(client, [proxy.url], DATA, getattr(laboratory, which))
    assert read_checked(offer, start) == DATA[start:]
    # One of the two sends whole files only.
    is_by_car = way == "car" or (start > 0 and laboratory.name == "gateway_lib")
    assert len(proxy.targets("car")) == is_by_car


def test_a_path_in_a_sharded_directory(client: Client, laboratory: Laboratory, proxy: Proxy) -> None:
    [offer] = offers_of(client, [proxy.url], DATA, laboratory.directory, "23.bin")
    assert offer.leaf_table().root == laboratory.v1
    assert read_checked(offer) == DATA


@pytest.mark.parametrize("way", ["file", "car", "raw"])
def test_one_wrong_bit(client: Client, laboratory: Laboratory, proxy: Proxy, way: str) -> None:
    [offer] = offers_of(client, [proxy.url], DATA, laboratory.v1)
    offer.leaf_table()
    proxy.flips = {way: 2_500_000 if way != "raw" else 5}
    if way == "file":
        with pytest.raises(WrongRowError, match=str(2 * MIB)):
            read_checked(offer)
        return
    proxy.faults.refuses = {"file": Status(406)}
    with pytest.raises(SourceError, match="block that does not match its CID") as caught:
        read(offer, 2 * MIB, None if way == "car" else 2 * MIB + 100)
    assert caught.value.fault is Fault.HASH


@pytest.mark.parametrize("way", ["file", "car"])
def test_a_missing_block_in_the_middle(
    client: Client, laboratory: Laboratory, proxy: Proxy, way: str
) -> None:
    if way == "car":
        proxy.faults.refuses = {"file": Status(406)}
    [offer] = offers_of(client, [proxy.url], DATA, laboratory.partial)
    found = bytearray()
    offer.leaf_table()
    with pytest.raises(SourceError):
        collect(offer, found)
    assert found == DATA[::-1][: len(found)]
    if way == "car":  # one sends what precedes the block, the other nothing, and both end without an error
        assert len(found) in (0, 2 * MIB)


def collect(offer: object, found: bytearray) -> None:
    """Read a file as far as it comes."""
    with closing(offer.open(0)) as stream:  # type: ignore[attr-defined]
        for piece in stream:
            found += piece


def test_a_range_that_is_ignored(client: Client, laboratory: Laboratory, proxy: Proxy) -> None:
    proxy.faults.ignores_range = True
    [offer] = offers_of(client, [proxy.url], DATA, laboratory.v1)
    assert read_checked(offer, 2_000_000) == DATA[2_000_000:]
    assert len(proxy.targets("car")) == 1


def test_a_redirect_to_a_subdomain(client: Client, laboratory: Laboratory, proxy: Proxy) -> None:
    proxy.faults.to_subdomain = True
    [offer] = offers_of(client, [proxy.url], DATA, laboratory.v1)
    assert read_checked(offer) == DATA


def test_too_many_requests(client: Client, laboratory: Laboratory, proxy: Proxy) -> None:
    proxy.replies = [Status(429, {"Retry-After": "3"})]
    [offer] = offers_of(client, [proxy.url], DATA, laboratory.v1)
    with pytest.raises(SourceError) as caught:
        offer.leaf_table()
    assert (caught.value.fault, caught.value.retry_after) == (Fault.BUSY, 3)
    assert read_checked(offer) == DATA


def test_a_stall(laboratory: Laboratory, proxy: Proxy) -> None:
    proxy.faults.stall = 1_500_000
    # Longer than a loaded machine takes to begin with the answer.
    client = Client(Limits(connect_timeout=HELD, stall_timeout=6.0), Cancellation())
    [offer] = offers_of(client, [proxy.url], DATA, laboratory.v1)
    offer.leaf_table()
    with pytest.raises(SourceError) as caught:
        read(offer)
    client.close()
    assert caught.value.fault is Fault.STALL
