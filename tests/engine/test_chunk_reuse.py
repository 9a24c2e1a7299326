"""Chunks of other files on this disk that are copied into a download."""

from __future__ import annotations

from tests.engine.fakes import MIB, Laboratory, code
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
    assert code(lab.ensure(PROVEN)) == 0
    assert lab.read(PROVEN, "f.bin") == CONTENT
    assert sorted(offer.asked) == [3 * MIB + 400_000, 7 * MIB]
