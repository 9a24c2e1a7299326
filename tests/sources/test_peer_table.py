"""The chunks of a file from its peers: proven by the CID, whichever sends them, and no reason to fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from modelfetch.engine.file_chunks import FileChunks, Provable
from modelfetch.ipfs.file_tree import Built, FileTree
from modelfetch.ipfs.profiles import UNIXFS_V1_2025
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.net.client import Client
from modelfetch.sources.ipfs_content import NoTableError
from modelfetch.sources.peer_search import PeerSource
from modelfetch.sources.peer_table import ProvingPeerOffer
from tests.engine.fakes import body, sha256
from tests.peer_server import PeerServer

MIB = 1 << 20
DATA = body(3 * MIB, 3)
OWN = "a" * 16


def own_name() -> str:
    return OWN


def tree() -> Built:
    tree = FileTree(UNIXFS_V1_2025)
    for at in range(0, len(DATA), MIB):
        tree.add_chunk(DATA[at : at + MIB])
    return tree.finish()


TREE = tree()
FILE = FileSpec("a.bin", len(DATA), sha256(DATA), cid=TREE.root.text)
MODEL = Manifest("m", "1", (FILE,))


class Gateway(PeerServer):
    """A peer that is a gateway, too: it sends blocks, right or wrong ones."""

    def __init__(self, instance: str, blocks: dict[str, bytes]) -> None:
        super().__init__(DATA, instance=instance)
        self.blocks = blocks

    def answer(self, handler: object) -> None:
        path, _, query = handler.path.partition("?")  # type: ignore[attr-defined]
        if not path.startswith("/ipfs/"):
            super().answer(handler)
            return
        assert query == "format=raw"
        block = self.blocks.get(path.rpartition("/")[2])
        self._reply(handler, 404 if block is None else 200, block or b"{}")


BLOCKS = {cid.to_v1().text: block for cid, block in TREE.nodes}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def offers(near: Client, *peers: PeerServer, file: FileSpec = FILE) -> list[ProvingPeerOffer]:
    source = PeerSource(near, [peer.url for peer in peers], own_name)
    model = Manifest("m", "1", (file,))
    source.discover([(model, file)])
    found = source.offers(model, file)
    assert all(isinstance(offer, ProvingPeerOffer) for offer in found)
    return [offer for offer in found if isinstance(offer, ProvingPeerOffer)]


def test_a_peer_proves_the_chunks_of_a_file(near: Client, stack: ExitStack) -> None:
    [offer] = offers(near, stack.enter_context(Gateway("1" * 16, BLOCKS)))
    assert isinstance(offer, Provable)
    chunks = FileChunks()
    chunks.learn(offer)
    assert chunks.is_proven
    assert chunks.table is not None
    assert chunks.table.size == len(DATA)


@pytest.mark.parametrize("blocks", [{}, dict.fromkeys(BLOCKS, b"not a node"), dict.fromkeys(BLOCKS, b"")])
def test_a_peer_that_does_not_know_them_or_lies_is_checked_with_those_of_another(
    blocks: dict[str, bytes], near: Client, stack: ExitStack
) -> None:
    liar, honest = (stack.enter_context(Gateway(f"{n}" * 16, b)) for n, b in ((1, blocks), (2, BLOCKS)))
    first, _ = offers(near, liar, honest)
    assert first.leaf_table().size == len(DATA)


def test_without_a_peer_that_knows_them_the_file_is_fetched_all_the_same(
    near: Client, stack: ExitStack
) -> None:
    peer = stack.enter_context(Gateway("1" * 16, {}))
    [offer] = offers(near, peer)
    with pytest.raises(NoTableError):
        offer.leaf_table()
    before = len(peer.asked)
    chunks = FileChunks()
    chunks.learn(offer)
    assert chunks.table is None
    assert len(peer.asked) == before, "it is not asked again"
    assert offer.ask().state == "has"


@pytest.mark.parametrize("cid", ["", "bafkqaaa!", "x"])
def test_a_malformed_cid_is_that_of_an_ordinary_file(cid: str, near: Client, stack: ExitStack) -> None:
    peer = stack.enter_context(Gateway("1" * 16, BLOCKS))
    file = FileSpec("a.bin", len(DATA), sha256(DATA), cid=cid)
    source = PeerSource(near, [peer.url], own_name)
    model = Manifest("m", "1", (file,))
    source.discover([(model, file)])
    [offer] = source.offers(model, file)
    assert not isinstance(offer, Provable)
