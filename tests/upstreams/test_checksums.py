"""Files of checksums: each line must be well-formed, in one of the two forms of sha256sum."""

from __future__ import annotations

import pytest

from modelfetch.upstreams.checksums import is_sums, parse_sums

A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        (f"{A}  model.onnx\n", {"model.onnx": A}),
        (f"{A} *model.onnx\r\n{B}  x y.bin", {"model.onnx": A, "x y.bin": B}),
        (f"{A.upper()}  ./model.onnx\n\n", {"model.onnx": A}),
        (f"SHA256 (model.onnx) = {A}\n", {"model.onnx": A}),
        (f"{A}  same\n{A}  same\n", {"same": A}),
    ],
)
def test_well_formed(text: str, found: dict[str, str]) -> None:
    assert parse_sums(text.encode()) == found


@pytest.mark.parametrize(
    "text",
    [
        f"{A}\n",
        f"{A[:-1]}  model.onnx\n",
        f"{A}model.onnx\n",
        f"{A}  a/b\n",
        f"{A}  ../../etc/passwd\n",
        f"\\{A}  a\\nb\n",
        f"{A}  same\n{B}  same\n",
        f"# comment\n{A}  model.onnx\n",
        f"MD5 (model.onnx) = {A[:32]}\n",
        "<!doctype html>\n",
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(ValueError, match="line "):
        parse_sums(text.encode())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("SHA256SUMS", True), ("sha256sums.txt", True), ("SHA256SUMS.asc", False), ("model.sha256", False)],
)
def test_names(name: str, expected: bool) -> None:
    assert is_sums(name) is expected
