"""The campaign of fuzzed IPFS formats: its first inputs reach the readers, and no target is blind."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from modelfetch.ipfs import dag_pb, trustless_answer, varint
from modelfetch.ipfs.car import CarReader
from modelfetch.ipfs.checked_bytes import CheckedBytes
from modelfetch.ipfs.cid import Cid
from modelfetch.ipfs.directory import DirectoryWalk, PathLookup
from modelfetch.ipfs.leaf_table import LeafTable
from modelfetch.ipfs.leaf_table_reader import LeafTableReader, read_table
from tests.campaign.fuzzing import graphs, targets
from tests.campaign.fuzzing.seeds import seeds_of
from tests.campaign.fuzzing.targets import TARGETS
from tests.ipfs import generated


def feed_all(target: str, seeds: Iterable[bytes]) -> None:
    for seed in seeds:
        TARGETS[target](seed)


@pytest.mark.quick(3)
@pytest.mark.parametrize("target", TARGETS)
def test_a_target_finds_nothing_in_the_first_inputs(target: str) -> None:
    seeds = list(seeds_of(target))
    assert seeds  # more where the fixtures of others are
    feed_all(target, seeds)


def fed(*arguments: object, **keywords: object) -> object:
    raise IndexError("not declared")


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("target", "reader", "method"),
    [
        ("cid_text", Cid, "parse"),
        ("cid_binary", Cid, "read"),
        ("dag_pb_node", dag_pb, "decode"),
        ("unixfs_message", varint, "read_uint64"),
        ("leaf_table", LeafTableReader, "add"),
        ("car_file", CarReader, "feed"),
        ("directory_walk", DirectoryWalk, "add"),
        ("path_lookup", PathLookup, "add"),
        ("request", targets, "parse_request"),
        ("answer", trustless_answer, "answer"),
        ("checked_bytes", CheckedBytes, "feed"),
    ],
)
def test_another_error_is_a_finding(
    target: str, reader: object, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = list(seeds_of(target))
    monkeypatch.setattr(reader, method, fed)
    with pytest.raises(IndexError, match="not declared"):
        feed_all(target, seeds)


def test_a_chunk_that_is_not_checked_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = list(seeds_of("checked_bytes"))
    monkeypatch.setattr(LeafTable, "check", lambda *_: True)
    with pytest.raises(AssertionError):
        feed_all("checked_bytes", seeds)


def test_a_real_graph_survives_its_encoding() -> None:
    name, root = generated.REPEATED
    blocks = generated.blocks_of(name)
    template = graphs.template_of(Cid.parse(root), lambda cid: blocks.get(cid.multihash))
    assert template is not None
    graph = graphs.graph_of(template)
    assert (graph.root, graph.blocks, graph.size) == (Cid.parse(root), blocks, 4096)


def test_a_program_makes_a_file() -> None:
    program = bytes(
        (0, 3, 1, 2, 3, 0, 2, 2, 0, 0, 0, 0)
    )  # a raw leaf of three bytes, and a node with two of it
    graph = graphs.graph_of(b"S" + program)
    table = read_table(graph.root, graph.size, graph.find)
    assert table is not None
    assert (table.size, len(table.rows)) == (6, 2)
