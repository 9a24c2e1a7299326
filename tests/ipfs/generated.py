"""Trees of small files that npm ipfs-unixfs-importer 17.1.1 built, and the keystreams of vectors."""

from __future__ import annotations

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from modelfetch.ipfs import varint
from modelfetch.ipfs.cid import Cid

DIRECTORY = Path(__file__).parents[1] / "data/ipfs"
BYTES = (DIRECTORY / "file-20000.bin").read_bytes()
"""The file whose trees are the CAR files that start with ``file-20000``."""

BALANCED_RAW = "file-20000_balanced-w3-256_raw", "bafybeibkkhoswcl4ktzngprpwyxbzihkqcoxk6yykmhy6mgxf4dw3pgv74"
BALANCED_WRAPPED = "file-20000_balanced-w3-256_dagpb-v0", "QmTFj9c9Gr1AUDCvR4k4VkGUweekc3LwKmSycsGJ5MUZhP"
TRICKLE_RAW = "file-20000_trickle-256_raw", "bafybeib6jrmxhvmokrnlidm4wo64fpkza6vdysxhq6zowwc3wekxhgte44"
TRICKLE_WRAPPED = "file-20000_trickle-256_dagpb-rawtype", "QmaUhfvrx25WEqvZVFa4b8x4ixzsrHWsbktyLStqqHhHbS"
WITH_TIME = "file-20000_mtime-mode_1024_raw", "bafybeidrtc6ekwk4byswyjr5wvsg6aozf3wemipceupvkgm7ji5njf37zy"
REPEATED = "file-4096_repeated-chunk_256_raw", "bafybeiapmzjoqmmmvu36ik3vqnjenco476tyf62ejwt3egu7eyfqorq4gm"


def blocks_of(name: str) -> dict[bytes, bytes]:
    """Read the blocks of a CAR file, by multihash."""
    data = (DIRECTORY / f"{name}.car").read_bytes()
    length, position = varint.read(data)
    position += length
    blocks = {}
    while position < len(data):
        length, position = varint.read(data, position)
        cid, start = Cid.read(data, position)
        position += length
        blocks[cid.multihash] = data[start:position]
        assert cid.matches(data[start:position])
    return blocks


def keystream(seed: str, size: int) -> bytes:
    """Make the bytes of a vector of IPIP-499; skips the test where openssl is absent."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not here")
    key = sha256(seed.encode()).hexdigest()
    command = [openssl, "enc", "-chacha20", "-K", key, "-iv", "0" * 32]
    made = subprocess.run(command, input=bytes(size), capture_output=True, check=False)
    if made.returncode:
        pytest.skip("this openssl has no ChaCha20")
    return made.stdout
