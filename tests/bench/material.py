"""The files that are fetched: random bytes, made once and kept, for making them takes longer than a round."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PIECE = 8 << 20
"""Bytes generated at a time."""

WHISPER: Mapping[str, int] = {
    "whisper/config.json": 2_243,
    "whisper/generation_config.json": 3_832,
    "whisper/tokenizer.json": 2_480_466,
    "whisper/tokenizer_config.json": 282_682,
    "whisper/vocab.json": 1_036_584,
    "whisper/merges.txt": 493_869,
    "whisper/onnx/encoder_model.onnx": 82_468_078,
    "whisper/onnx/decoder_model_merged.onnx": 208_521_528,
}
"""An ONNX Whisper base: eight files, 295 MB, two of them nearly all of it."""

SPEECH: Mapping[str, int] = {
    "tts/mimi_encoder.onnx": 73_165_554,
    "tts/text_conditioner.onnx": 16_388_363,
    "tts/flow_lm_main_int8.onnx": 76_341_627,
    "tts/flow_lm_flow_int8.onnx": 9_962_530,
    "tts/mimi_decoder_int8.onnx": 22_684_077,
    "tts/tokenizer.model": 59_339,
}
"""A text-to-speech model: six files, 199 MB."""

SETS: Mapping[str, Mapping[str, int]] = {
    "set": {**WHISPER, **SPEECH},
    "whisper": WHISPER,
    "one": {"model.onnx": 208_521_528},
    "small": {f"part-{number // 100:02}/{number:04}.bin": 4096 for number in range(2000)},
    "tiny": {"config.json": 4096},
    **{f"kilo-{count}": {f"{number}.json": 1000 for number in range(count)} for count in (1, 14, 114)},
}
"""Sizes in bytes of the files of each material, by path."""


@dataclass(frozen=True, slots=True)
class File:
    """One file.

    Attributes:
        path: Relative, with slashes.
        size: Bytes.
        sha256: 64 lower-case hexadecimal digits.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Material:
    """Files that are fetched together.

    Attributes:
        name: Name of the material; also of the model and of the repository.
        root: Directory the files lie in.
        files: In the order in which every peer is told of them.
    """

    name: str
    root: Path
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    def warm(self) -> None:
        """Read every file once, so that the server never waits for the disk."""
        for file in self.files:
            _digest(self.root / file.path)

    def wrong(self, root: Path, *, digests: bool) -> list[str]:
        """The paths that are not under ``root`` as they should be, by size or, much slower, by digest."""
        return [file.path for file in self.files if not _is_right(root / file.path, file, digests)]


def make(name: str, directory: Path) -> Material:
    """The material of this name in ``directory``, made if it is not there yet."""
    root, note = directory / name, directory / f"{name}.json"
    if note.exists():
        return Material(name, root, tuple(File(**each) for each in json.loads(note.read_text("utf-8"))))
    files = tuple(
        File(path, size, _write(root / path, size, f"{name}/{path}")) for path, size in SETS[name].items()
    )
    note.write_text(
        json.dumps([{"path": each.path, "size": each.size, "sha256": each.sha256} for each in files]), "utf-8"
    )
    return Material(name, root, files)


def _write(path: Path, size: int, seed: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    source, digest = random.Random(seed), hashlib.sha256()
    with path.open("wb") as out:
        for start in range(0, size, PIECE):
            piece = source.randbytes(min(PIECE, size - start))
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest()


def _is_right(path: Path, file: File, digests: bool) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return not digests or _digest(path) == file.sha256


def _digest(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
