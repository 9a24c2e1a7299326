"""Chunks of other files on this disk that are copied into a download."""

from __future__ import annotations

from modelfetch.engine.events import FileCommitted
from tests.engine.fakes import MIB, Laboratory, code, of
from tests.engine.test_chunks import BUILT, CONTENT, PROVEN, built, sha


def test_a_chunk_of_which_a_part_is_there_is_fetched(lab: Laboratory) -> None:
    """Its bytes would overlap those of the earlier run."""
    other = CONTENT[: 7 * MIB] + bytes(MIB)  # a blob with all chunks but the last two
    lab.store.chunk_maps.write(sha(PROVEN), BUILT)
    blob = lab.root / "blobs/sha256/00" / ("0" * 64)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(other)
    lab.store.chunk_maps.write("0" * 64, built(other))
    lab.begin(CONTENT, "mirror earlier.example", 3 * MIB + 400_000)
    offer = lab.serve(CONTENT)
    events = lab.ensure(PROVEN)
    assert code(events) == 0
    assert lab.read(PROVEN, "f.bin") == CONTENT
    (committed,) = of(events, FileCommitted)
    assert committed.parts == (
        (0, 3 * MIB + 400_000, "mirror earlier.example"),
        (3 * MIB + 400_000, 4 * MIB, "mirror a.example"),
        (4 * MIB, 7 * MIB, "cache chunks"),
        (7 * MIB, len(CONTENT), "mirror a.example"),
    )
    assert sorted(offer.asked) == [3 * MIB + 400_000, 7 * MIB]
