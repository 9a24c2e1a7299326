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


@pytest.mark.parametrize("cid", [TREE_CID, OLD_CID])
def test_the_digest_of_a_tree_has_to_be_computed(ipfs: Ipfs, gateways: list[Table], cid: str) -> None:
    serve(gateways[0], TREE_CID, File(body=CONTENT))
    listing = ipfs.resolve(IpfsReference(cid))
    file = only(listing)
    assert (file.size, file.sha256, file.cid, file.urls) == (len(CONTENT), None, TREE_CID, ())
    assert listing.stated_by == "computed"
    assert "not verified against the CID" in listing.notices[0]
    assert read(ipfs, file) == CONTENT


@pytest.mark.parametrize("stated", [f"{TREE_CID},{RAW_CID}", RAW_CID])
def test_a_file_in_a_directory_has_the_cid_that_the_gateway_states(
    ipfs: Ipfs, gateways: list[Table], stated: str
) -> None:
    said = File(body=CONTENT, headers={"X-Ipfs-Roots": stated})
    serve(gateways[0], f"{TREE_CID}/onnx/model-a.onnx", said)
    file = only(ipfs.resolve(IpfsReference(TREE_CID, "onnx/model-a.onnx")))
    assert (file.path, file.cid, file.urls) == ("model-a.onnx", RAW_CID, ())


@pytest.mark.parametrize("stated", ["", "nonsense", "../.."])
def test_without_a_stated_cid_the_address_is_pinned(ipfs: Ipfs, gateways: list[Table], stated: str) -> None:
    serve(gateways[0], f"{TREE_CID}/a.bin", File(body=CONTENT, headers={"X-Ipfs-Roots": stated}))
    file = only(ipfs.resolve(IpfsReference(TREE_CID, "a.bin")))
    assert file.cid is None
    assert file.urls == (f"{gateways[0].endpoint}/ipfs/{TREE_CID}/a.bin",)


@pytest.mark.parametrize(
    "said", [Reply(404), Reply(504), Reply(429), Reply(200, {"Content-Encoding": "gzip"}, b"x")]
)
def test_the_next_gateway_is_asked_at_once(ipfs: Ipfs, gateways: list[Table], said: Reply) -> None:
    serve(gateways[0], TREE_CID, said)
    serve(gateways[1], TREE_CID, File(body=CONTENT))
    assert read(ipfs, only(ipfs.resolve(IpfsReference(TREE_CID)))) == CONTENT
    assert len(gateways[0].requests) == 1


def test_no_gateway_has_it(ipfs: Ipfs, gateways: list[Table]) -> None:
    error = fails(ipfs, TREE_CID)
    assert isinstance(error, UnavailableError)
    assert error.message.count("not found") == 2


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


@pytest.mark.parametrize("is_redirected", [True, False])
def test_a_directory_is_refused(ipfs: Ipfs, gateways: list[Table], is_redirected: bool) -> None:
    page = File(body=b"<html>Index of", headers={"Content-Type": "text/html"})
    if is_redirected:
        serve(gateways[0], TREE_CID, Reply(301, headers={"Location": f"/ipfs/{TREE_CID}/"}))
        serve(gateways[0], f"{TREE_CID}/", File(body=b"listing"))
    else:
        serve(gateways[0], TREE_CID, page)
    error = fails(ipfs, TREE_CID)
    assert isinstance(error, UsageError)
    assert "is a directory" in error.message
    assert error.hint == "Name one file in it: ipfs:CID/PATH."
