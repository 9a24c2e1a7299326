"""IPFS gateways: requests by CID, and none if the CID contradicts the digest."""

from __future__ import annotations

import hashlib

import pytest

from modelfetch.errors import Fault, SourceError
from modelfetch.ipfs.cid import Cid
from modelfetch.net.client import Client
from modelfetch.sources.ipfs import IpfsSource, content_path
from tests.origin import Origin
from tests.origin.content import cid
from tests.sources.samples import DATA, SHA256, manifest, read, spec

RAW = cid(0x55, SHA256)
OTHER_RAW = cid(0x55, hashlib.sha256(b"other").hexdigest())
TREE = cid(0x70, hashlib.sha256(b"root of a tree").hexdigest())
DIRECTORY = cid(0x70, hashlib.sha256(b"directory").hexdigest())
OLD = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"
OLD_AS_V1 = Cid.parse(OLD).to_v1().text


@pytest.mark.parametrize(
    ("own", "directory", "path"),
    [
        (None, None, None),
        (RAW, None, RAW),
        (TREE, None, TREE),
        (RAW, DIRECTORY, RAW),
        (None, DIRECTORY, f"{DIRECTORY}/onnx/model.onnx"),
        (OLD, None, OLD_AS_V1),
        (None, OLD, f"{OLD_AS_V1}/onnx/model.onnx"),
    ],
    ids=["none", "raw", "tree", "own before directory", "directory", "version 0", "directory of version 0"],
)
def test_the_content_path(own: str | None, directory: str | None, path: str | None) -> None:
    file = spec(cid=own)
    assert content_path(manifest(file, ipfs_cid=directory), file) == path


def test_a_path_below_a_directory_is_percent_encoded() -> None:
    file = spec("a b#c/%2e?.bin")
    assert content_path(manifest(file, ipfs_cid=DIRECTORY), file) == f"{DIRECTORY}/a%20b%23c/%252e%3F.bin"


def test_without_a_cid_there_is_no_offer(client: Client) -> None:
    file = spec()
    assert not IpfsSource(client, ["https://gateway.example"]).offers(manifest(file), file)


def test_one_offer_per_gateway_in_order(client: Client) -> None:
    file = spec(cid=TREE)
    offers = IpfsSource(client, ["https://a.example", "https://b.example/"]).offers(manifest(file), file)
    assert [(offer.kind, offer.host) for offer in offers] == [("ipfs", "a.example"), ("ipfs", "b.example")]


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_gateway_delivers(client: Client, origin: Origin, ending: str) -> None:
    file = spec(cid=RAW)
    origin.add(file.path, DATA)
    [offer] = IpfsSource(client, [origin.endpoint + ending]).offers(manifest(file), file)
    assert read(offer, 10) == DATA[10:]
    assert origin.requests[0].target == f"/ipfs/{RAW}"
    assert origin.foreign_headers == set()


def test_a_file_of_a_directory_is_requested_by_path(client: Client, origin: Origin) -> None:
    file = spec()
    origin.add(file.path, DATA, scope=DIRECTORY)
    [offer] = IpfsSource(client, [origin.endpoint]).offers(manifest(file, ipfs_cid=DIRECTORY), file)
    assert read(offer) == DATA
    assert origin.requests[0].target == f"/ipfs/{DIRECTORY}/onnx/model.onnx"


def test_a_raw_cid_of_other_bytes_is_refused_before_any_request(client: Client, origin: Origin) -> None:
    file = spec(cid=OTHER_RAW)
    [offer] = IpfsSource(client, [origin.endpoint, origin.endpoint]).offers(manifest(file), file)
    with pytest.raises(SourceError) as caught:
        offer.open(0)
    assert caught.value.fault is Fault.HASH
    assert not caught.value.retry
    assert origin.connections == 0


@pytest.mark.parametrize("text", ["nonsense", "", "bafy\x1b[2J", "k51qzi5uqu5dl", "Qm" + "1" * 44])
@pytest.mark.parametrize("place", ["file", "directory"])
def test_a_malformed_cid_is_refused_in_clean_words(
    client: Client, origin: Origin, text: str, place: str
) -> None:
    file = spec(cid=text if place == "file" else None)
    model = manifest(file, ipfs_cid=text if place == "directory" else None)
    [offer] = IpfsSource(client, [origin.endpoint]).offers(model, file)
    assert offer.kind == "ipfs"
    with pytest.raises(SourceError) as caught:
        offer.open(0)
    assert caught.value.fault is Fault.PROTOCOL
    assert caught.value.message.isprintable()
    assert origin.connections == 0


def test_a_gateway_without_the_block_does_not_have_the_file(client: Client, origin: Origin) -> None:
    file = spec(cid=TREE)
    [offer] = IpfsSource(client, [origin.endpoint]).offers(manifest(file), file)
    with pytest.raises(SourceError) as caught:
        offer.open(0)
    assert caught.value.fault is Fault.NOT_FOUND
