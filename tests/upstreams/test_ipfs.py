"""Files on IPFS: what a CID states, what has to be computed, and gateways that misbehave."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from modelfetch.errors import IntegrityError, ModelfetchError, UnavailableError, UsageError
from modelfetch.ipfs.cid import DAG_PB, IDENTITY, RAW, SHA2_256, Cid
from modelfetch.model.reference import IpfsReference
from modelfetch.net.hub_client import HubClient
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.ipfs import Ipfs
from tests.hubs.server import Reply
from tests.hubs.table import File, Table

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
RAW_CID = Cid(1, RAW, SHA2_256, bytes.fromhex(SHA256)).text
TREE_CID = Cid(1, DAG_PB, SHA2_256, hashlib.sha256(b"root").digest()).text
OLD_CID = Cid(0, DAG_PB, SHA2_256, hashlib.sha256(b"root").digest()).text
INLINE_CID = Cid(1, RAW, IDENTITY, b"hello").text


@pytest.fixture
def gateways() -> Iterator[list[Table]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Table()) for _ in range(2)]


@pytest.fixture
def ipfs(hub: HubClient, gateways: list[Table]) -> Ipfs:
    return Ipfs(hub, [gateway.endpoint + "/" for gateway in gateways])


def serve(gateway: Table, path: str, said: Reply) -> None:
    gateway.answers[f"/ipfs/{path}"] = said


def read(ipfs: Ipfs, file: UpstreamFile) -> bytes:
    with ipfs.open(file) as pieces:
        return b"".join(pieces)


def fails(ipfs: Ipfs, cid: str, path: str = "") -> ModelfetchError:
    with pytest.raises(ModelfetchError) as caught:
        ipfs.resolve(IpfsReference(cid, path))
    return caught.value


def only(listing: Listing) -> UpstreamFile:
    [file] = listing.files
    return file


def test_a_raw_block_states_its_digest_and_is_verified(ipfs: Ipfs, gateways: list[Table]) -> None:
    serve(gateways[0], RAW_CID, File(body=CONTENT))
    listing = ipfs.resolve(IpfsReference(RAW_CID))
    file = only(listing)
    assert (file.size, file.sha256, file.cid) == (len(CONTENT), SHA256, RAW_CID)
    assert listing.stated_by == "ipfs"


@pytest.mark.parametrize("said", [File(body=CONTENT[::-1]), File(body=CONTENT + b"!")])
def test_a_gateway_that_sends_other_bytes_is_named(ipfs: Ipfs, gateways: list[Table], said: Reply) -> None:
    serve(gateways[0], RAW_CID, said)
    error = fails(ipfs, RAW_CID)
    assert isinstance(error, IntegrityError)
    assert SHA256 in error.message
    assert "127.0.0.1" in error.message


def test_a_wrong_size_of_a_raw_block_is_not_believed(ipfs: Ipfs, gateways: list[Table]) -> None:
    said = File(body=CONTENT + bytes(5), cut=len(CONTENT), ranges=False)
    serve(gateways[0], RAW_CID, said)
    assert isinstance(fails(ipfs, RAW_CID), UnavailableError)


def test_a_large_raw_block_is_computed_and_still_verified(
    ipfs: Ipfs, gateways: list[Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelfetch.upstreams.ipfs.RAW_BYTES", 1000)
    serve(gateways[0], RAW_CID, File(body=CONTENT))
    file = only(ipfs.resolve(IpfsReference(RAW_CID)))
    assert (file.size, file.sha256) == (len(CONTENT), None)
    assert read(ipfs, file) == CONTENT
    serve(gateways[0], RAW_CID, File(body=CONTENT[::-1]))
    with pytest.raises(IntegrityError):
        read(ipfs, file)


def test_an_inline_file_needs_no_request(ipfs: Ipfs, gateways: list[Table]) -> None:
    file = only(ipfs.resolve(IpfsReference(INLINE_CID)))
    assert (file.size, file.sha256) == (5, hashlib.sha256(b"hello").hexdigest())
    assert read(ipfs, file) == b"hello"
    assert gateways[0].requests == gateways[1].requests == []


def test_no_gateway_is_configured(hub: HubClient) -> None:
    assert "no gateway is configured" in fails(Ipfs(hub, []), TREE_CID).message


@pytest.mark.parametrize(
    ("cid", "path", "words"),
    [
        ("bafynonsense", "", "is not a CID"),
        (RAW_CID, "a/b", "has no paths"),
        (TREE_CID, "../a", "the path must be relative"),
        (TREE_CID, "a b", "the path contains"),
    ],
)
def test_what_cannot_be_pinned(ipfs: Ipfs, gateways: list[Table], cid: str, path: str, words: str) -> None:
    error = fails(ipfs, cid, path)
    assert isinstance(error, UsageError)
    assert words in error.message
    assert gateways[0].requests == []
