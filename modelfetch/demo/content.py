"""The files of the demo: generated, and the same on every machine.

Generated, so that the package need not contain 49 MB. The manifest of the demo pins their digests, as that of
every model does.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

SIZES = {
    "config.json": 1_234,
    "tokenizer.json": 2_345_678,
    "onnx/encoder_model.onnx": 17_654_321,
    "onnx/decoder_model.onnx": 28_765_432,
}
"""Bytes of each file: 48.8 MB in all, divided like a small speech model."""


@lru_cache(maxsize=len(SIZES))
def content(path: str) -> bytes:
    """Return the content of a file: SHAKE128 (FIPS 202) of its name, which gives any number of bytes."""
    return hashlib.shake_128(b"modelfetch demo\0" + path.encode()).digest(SIZES[path])
