"""The readers, each with what must hold for every input.

A target returns if its reader did what is documented, including the errors that are. Whatever else it raises
is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Final

from modelfetch.ipfs import car, dag_pb, protobuf, trustless_answer, unixfs, varint
from modelfetch.ipfs.block_walk import BlockWalk
from modelfetch.ipfs.car import CarReader
from modelfetch.ipfs.checked_bytes import Checked, CheckedBytes
from modelfetch.ipfs.cid import DAG_PB, IDENTITY, RAW, SHA2_256, Cid
from modelfetch.ipfs.directory import DirectoryWalk, PathLookup
from modelfetch.ipfs.errors import MalformedError
from modelfetch.ipfs.file_tree import FileTree
from modelfetch.ipfs.leaf_table import LeafTable
from modelfetch.ipfs.leaf_table_reader import LeafTableReader, read_table
from modelfetch.ipfs.mapped_file import MappedFile
from modelfetch.ipfs.profiles import UNIXFS_V0_2015, UNIXFS_V1_2025, Profile
from modelfetch.ipfs.row_array import LeafKind
from modelfetch.ipfs.trustless_answer import MissingBlockError
from modelfetch.ipfs.trustless_request import Format, RequestError, TrustlessRequest, parse_request
from modelfetch.lazy_dataclass import replace
from tests.campaign.fuzzing.graphs import SEPARATOR, Graph, Source, graph_of

PIECES_LIMIT: Final = 2000
"""Pieces of an answer that are read: one with duplicates can repeat a block any number of times."""


def cid_text(data: bytes) -> None:
    """Text: any, and each CID has one canonical form."""
    text = data.decode("utf-8", "surrogateescape")
    with suppress(MalformedError):
        cid = Cid.parse(text)
        assert Cid.parse(cid.text) == cid
        assert Cid.parse(cid.to_v1().text) == cid.to_v1()
        assert cid.version or cid.text == text
        assert len(cid.text) == len(text) or text[0] not in "bB"


def cid_binary(data: bytes) -> None:
    """A CID has one binary form, whatever precedes and follows it."""
    with suppress(MalformedError):
        cid, end = Cid.read(data)
        assert cid.binary == data[:end]
        assert Cid.read(b"x" + data, 1) == (cid, end + 1)
        cid.matches(data)
        if not cid.refusal:
            assert Cid.parse(cid.text) == cid
    with suppress(MalformedError):
        value, end = varint.read(data)
        assert varint.encode(value) == data[:end]
    with suppress(MalformedError):
        value, end = varint.read_uint64(data)
        assert varint.read_uint64(varint.encode(value))[0] == value


def dag_pb_node(data: bytes) -> None:
    """What is decoded and encoded again is the same node."""
    with suppress(MalformedError):
        fields = list(protobuf.read_fields(data))
        assert len(fields) <= len(data)
    with suppress(MalformedError):
        node = dag_pb.decode(data)
        assert dag_pb.decode(dag_pb.encode(node)) == node
        with suppress(MalformedError):
            unixfs.file_message(node)


def unixfs_message(data: bytes) -> None:
    """What is decoded and encoded again is the same message."""
    with suppress(MalformedError):
        message = unixfs.decode(data)
        assert unixfs.decode(unixfs.encode(message)) == message


def leaf_table(data: bytes) -> None:
    """The rows of a table cover the file without a gap, whatever is fed in which order."""
    source = Source(data)
    flags = source.byte()
    graph = graph_of(source.rest)
    size = None if flags & 1 else graph.size + (flags >> 1 & 1)
    with suppress(MalformedError):
        reader = LeafTableReader(graph.root, size)
        _feed(reader, graph, flags)
        while reader.table is not None:
            _check_table(reader.table)
            if not _expand(reader, reader.table, graph):
                _check_leaves(reader, reader.table, graph)
                break
            _feed(reader, graph, flags)
        assert (reader.table is None) == bool(reader.wanted)


def _feed(reader: LeafTableReader | BlockWalk, graph: Graph, flags: int) -> None:  # type: ignore[type-arg]
    """Give a reader what it wants; with the flags all blocks at once, or the last one first."""
    if flags & 4:
        for block in graph.blocks.values():
            reader.add(block)
    while wanted := [cid for cid in reader.wanted if graph.find(cid) is not None]:
        cid = wanted[-1 if flags & 8 else 0]
        assert reader.add(graph.blocks[cid.multihash])


def _check_table(table: LeafTable) -> None:
    position = 0
    for row in table.rows:
        assert row.offset == position
        assert row.size > 0
        position += row.size
    assert position == table.size
    for offset, known in table.known.items():
        assert table.check(table.row_at(offset), known)


def _expand(reader: LeafTableReader, table: LeafTable, graph: Graph) -> bool:
    """Ask for the first row that is an inner node in truth."""
    for row in table.rows:
        block = graph.blocks.get(Cid(1, RAW, SHA2_256, row.digest).multihash)
        if block is None or row.kind is not LeafKind.WRAPPED:
            continue
        with suppress(MalformedError):
            chunk = table.chunk_in(row, block)
            assert chunk is not None
            if table.check(row, chunk):
                continue
        if reader.expand(row):
            return True
    return False


def _check_leaves(reader: LeafTableReader, table: LeafTable, graph: Graph) -> None:
    """A file with such a table gives the blocks again."""
    leaves = {row.offset: graph.blocks.get(Cid(1, RAW, SHA2_256, row.digest).multihash) for row in table.rows}
    nodes = {cid.multihash: block for cid, block in reader.nodes}
    mapped = MappedFile(table, nodes, lambda offset, size: table.known.get(offset, bytes(size)))
    for digest, row in list({row.digest: row for row in table.rows}.items())[:20]:
        block = leaves[row.offset]
        if block is not None:
            with suppress(MalformedError):
                table.chunk_in(row, block)
        mapped.find(Cid(1, RAW, SHA2_256, digest))


def car_file(data: bytes) -> None:
    """The same blocks or the same error, in whatever pieces the file arrives."""
    form, data = data[:1], data[1:]
    if form == b"G":  # blocks with right digests, which no fuzzer would find
        graph = graph_of(data)
        sections = [car.section(Cid.read(b"\x01\x55" + key)[0], block) for key, block in graph.blocks.items()]
        data = b"".join((car.header(graph.root), *sections))
    whole = _read_car(iter((data,)))
    step = 1 + (form or b"\0")[0] % 64
    assert _read_car(data[start : start + step] for start in range(0, len(data), step)) == whole


def _read_car(pieces: Iterator[bytes]) -> tuple[list[tuple[Cid, bytes]], int, str]:
    reader, blocks, error = CarReader(), [], ""
    try:
        for piece in pieces:
            for cid, block in reader.feed(piece):
                assert cid.matches(block)
                blocks.append((cid, block))
        reader.finish()
    except MalformedError as raised:
        error = str(raised)
    return blocks, reader.skipped, error


def directory_walk(data: bytes) -> None:
    """Every entry has a path that is safe to write, and is found by that path."""
    source = Source(data)
    flags = source.byte()
    graph = graph_of(source.rest)
    with suppress(MalformedError):
        walk = DirectoryWalk(graph.root, recursive=not flags & 1)
        _feed(walk, graph, flags)
        entries = walk.entries
        assert (entries is None) == bool(walk.wanted)
        for entry in (entries or ())[:20]:
            names = entry.path.encode().split(b"/") if entry.path else []
            assert not {b"", b".", b".."}.intersection(names)
            lookup = PathLookup(graph.root, names)
            _feed(lookup, graph, 0)
            # A shard can list an entry in a slot that is not that of its name: it cannot be looked up.
            assert lookup.target in {None, entry.cid}


def path_lookup(data: bytes) -> None:
    """A path of any names ends with a CID, a missing block or the documented error."""
    source = Source(data)
    names = [source.take(source.byte() % 16) for _ in range(source.byte() % 8)]
    graph = graph_of(source.rest)
    with suppress(MalformedError):
        lookup = PathLookup(graph.root, names)
        _feed(lookup, graph, 0)
        assert (lookup.target is None) == bool(lookup.wanted)


def request(data: bytes) -> None:
    """Any target and header gives a request or a status; a range lies in the file."""
    target, _, accept = data.decode("utf-8", "surrogateescape").partition("\n")
    with suppress(RequestError):
        parsed = parse_request(target, accept)
        assert not parsed.cid.refusal
        if parsed.entity_bytes is not None:
            for size in (0, 1, 1000, 1 << 62):
                with suppress(RequestError):
                    span = parsed.entity_bytes.resolve(size)
                    assert span is None or 0 <= span[0] <= span[1] < size


def answer(data: bytes) -> None:
    """An answer is a raw block or a CAR file, even if the blocks here are hostile."""
    query, _, rest = data.partition(SEPARATOR)
    graph = graph_of(rest)
    target = f"/ipfs/{graph.root.text}{query.decode('latin-1')}"
    try:
        parsed = parse_request(target)
        body = _body(parsed, graph)
        again = _body(replace(parsed, duplicates=True), graph)
    except (RequestError, MissingBlockError):
        return
    if parsed.format is Format.RAW:
        assert parsed.cid.matches(body)
        return
    sent, sent_again = _keys(body), _keys(again)
    assert parsed.duplicates or len(sent) == len(set(sent))
    assert all(key[0] != IDENTITY for key in sent)
    assert set(sent) == set(sent_again)


def _body(parsed: TrustlessRequest, graph: Graph) -> bytes:
    """The body of an answer; a long one counts as one that breaks."""
    pieces = list(islice(trustless_answer.answer(parsed, graph.find).body, PIECES_LIMIT))
    if len(pieces) == PIECES_LIMIT:
        raise MissingBlockError("is not read to its end")
    return b"".join(pieces)


def _keys(body: bytes) -> list[bytes]:
    reader = CarReader()
    keys = [cid.multihash for cid, _ in reader.feed(body)]
    reader.finish()
    return keys


def checked_bytes(data: bytes) -> None:
    """All bytes of an answer are passed on once, and each chunk is judged by its bytes alone."""
    source = Source(data)
    chunk_size, flags = 1 + source.byte() % 32, source.byte()
    start, end = source.byte(), source.byte()
    cuts, damaged = [source.byte() % 48 for _ in range(8)], source.byte()
    profile = replace(UNIXFS_V0_2015 if flags & 1 else UNIXFS_V1_2025, chunk_size=chunk_size, width=3)
    content = source.rest[: 32 * chunk_size]
    table = _table_of(content, profile)
    start, end = sorted((start % (len(content) + 1), end % (len(content) + 1)))
    sent = bytearray(content[start:end])
    if sent and flags & 2:
        sent[damaged % len(sent)] ^= 1
    if flags & 4:
        sent += b"x"
    checker, position = CheckedBytes(table, start, end), start
    for piece in _cut(bytes(sent), cuts):
        try:
            for checked in checker.feed(piece):
                assert checked.offset == position
                _check_part(table, content, checked, bytes(sent[position - start :][: len(checked.data)]))
                position += len(checked.data)
        except ValueError:
            assert flags & 4
            return
        assert checker.held < chunk_size
    assert not flags & 4
    assert position == end - checker.held
    assert not checker.held


def _table_of(content: bytes, profile: Profile) -> LeafTable:
    tree = FileTree(profile)
    for offset in range(0, len(content), profile.chunk_size):
        tree.add_chunk(content[offset : offset + profile.chunk_size])
    built = tree.finish()
    nodes = {cid.multihash: block for cid, block in built.nodes}
    if built.root.codec == DAG_PB and not nodes:
        nodes[built.root.multihash] = b"".join(
            (unixfs.leaf_envelope(len(content))[0], content, unixfs.leaf_envelope(len(content))[1])
        )
    table = read_table(built.root, len(content), lambda cid: nodes.get(cid.multihash))
    assert table is not None
    return table


def _cut(sent: bytes, cuts: list[int]) -> Iterator[bytes]:
    for length in cuts:
        yield sent[:length]
        sent = sent[length:]
    yield sent


def _check_part(table: LeafTable, content: bytes, checked: Checked, sent: bytes) -> None:
    assert checked.data == sent
    row = table.row_at(checked.offset)
    is_whole = (row.offset, row.size) == (checked.offset, len(checked.data))
    assert checked.is_right is None or is_whole
    if checked.is_right is not None:
        assert checked.is_right == (content[row.offset : row.offset + row.size] == sent)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    each.__name__: each
    for each in (
        cid_text,
        cid_binary,
        dag_pb_node,
        unixfs_message,
        leaf_table,
        car_file,
        directory_walk,
        path_lookup,
        request,
        answer,
        checked_bytes,
    )
}
"""By name."""
