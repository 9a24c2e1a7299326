"""The pieces of a torrent in tests: which are those of a file, and whether bytes are a piece."""

from __future__ import annotations

from modelfetch.swarm.merkle import DIGEST, piece_hash, small_file_root
from modelfetch.swarm.metainfo import Metainfo


def pieces_of(metainfo: Metainfo, path: str) -> range:
    """Return the numbers of the pieces of a file."""
    [file] = [file for file in metainfo.files if file.path == path]
    return range(file.first_piece, file.first_piece - (-file.size // metainfo.piece_length))


def has_piece(metainfo: Metainfo, number: int, data: bytes) -> bool:
    """Whether bytes are those of a piece, as far as the torrent says. Needs the layers."""
    place = metainfo.piece(number)
    if len(data) != place.size:
        return False
    if place.file.size <= metainfo.piece_length:
        return small_file_root(data) == place.file.root
    at = (number - place.file.first_piece) * DIGEST
    return piece_hash(data, metainfo.piece_length) == place.file.layer[at : at + DIGEST]
