"""Headers of the archive, compared with those of Python's own tarfile."""

from __future__ import annotations

import io
import tarfile

import pytest

from modelfetch.bundle.tar_format import header
from modelfetch.bundle.verifier import USTAR_LIMIT, BundleError, parse_header
from tests.bundle.material import parts

NAME = "blobs/sha256/" + "a" * 64
SIZES = [0, 1, 511, 512, 1 << 30, USTAR_LIMIT - 1, USTAR_LIMIT, 5 * USTAR_LIMIT + 7, 2**62]


@pytest.mark.parametrize("size", SIZES)
def test_a_header_is_that_of_tarfile_and_is_read_back(size: int) -> None:
    info = tarfile.TarInfo(NAME)
    info.size = size
    is_large = size >= USTAR_LIMIT
    expected = info.tobuf(tarfile.GNU_FORMAT) if is_large else info.tobuf(tarfile.USTAR_FORMAT)
    assert header(NAME, size) == expected
    member = parse_header(header(NAME, size))
    assert (member.name, member.size, member.start) == (NAME, size, 512)


def test_from_8_gib_on_the_size_is_in_base_256() -> None:
    assert header(NAME, 8 * 2**30 - 1)[124:136] == b"77777777777\0"
    assert header(NAME, 8 * 2**30)[124:136] == b"\x80" + (8 * 2**30).to_bytes(11, "big")


def test_an_archive_is_read_by_tarfile() -> None:
    made = parts()
    with tarfile.open(fileobj=io.BytesIO(made.tar())) as tar:
        found = {info.name: tar.extractfile(info) for info in tar.getmembers()}
        assert {name: file.read() for name, file in found.items() if file} == made.members


def test_a_flipped_bit_of_a_header_is_found() -> None:
    for position in range(512):
        block = bytearray(header(NAME, 1000))
        block[position] ^= 1
        with pytest.raises(BundleError):
            parse_header(bytes(block))
