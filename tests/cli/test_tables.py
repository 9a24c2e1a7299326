"""Tables: fitted to any width by one rule, in cells, and whole where they are data."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from modelfetch.cli.tables import Column, Layout, arrange, lines, print_table
from modelfetch.reporters.bars_layout import shorten_all

COLUMNS = [
    Column("file", flexible=True),
    Column("size", right=True),
    Column("bytes", right=True, drop=1),
    Column("sha256", whole=True),
]
SHARDS = [f"model-{n:05}-of-00030.safetensors" for n in range(1, 31)]
NAMES = [*SHARDS, "模型/权重文件-语音识别-大.onnx", "🤗/config.json", "tokenizer.json"]
DIGEST = "0123456789abcdef" * 4
ROWS = [[name, "4.98 GB", "4976698672", DIGEST] for name in NAMES]


def drawn(columns: list[Column], rows: list[list[str]], room: int) -> list[str]:
    cells = [[column.name for column in columns], *rows]
    natural = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    return lines(columns, cells, arrange(columns, natural, room), room)


@pytest.mark.quick(every=5)
@pytest.mark.parametrize("room", [*range(24, 140)])
def test_no_line_is_wider_than_the_terminal(room: int) -> None:
    assert max(map(cell_len, drawn(COLUMNS, ROWS, room))) <= room


@pytest.mark.parametrize("room", [60, 80, 100, 140])
def test_a_digest_is_whole_and_column_names_are_not_cut(room: int) -> None:
    head, *table = drawn(COLUMNS, ROWS, room)
    assert "".join(table).replace(" ", "").count(DIGEST) == len(ROWS)
    assert {"file", "size"} <= set(head.split()) <= {"file", "size", "bytes", "sha256"}


@pytest.mark.parametrize("room", [30, 40, 60, 80, 100, 140])
def test_what_differs_is_kept(room: int) -> None:
    names = [row[: max(12, room - 19)] for row in drawn(COLUMNS[:3], [row[:3] for row in ROWS], room)[1:]]
    assert len(set(names)) == len(NAMES)
    for n, line in enumerate(names[:30], 1):
        assert f"{n:02}" in line


def test_columns_are_aligned_in_cells() -> None:
    ends = {cell_len(line[: line.index("4.98 GB")]) for line in drawn(COLUMNS, ROWS, 140)[1:]}
    assert len(ends) == 1


def test_a_column_gets_no_more_than_its_most() -> None:
    columns = [Column("key"), Column("license", flexible=True, most=14), Column("title", flexible=True)]
    assert arrange(columns, [10, 70, 40], 200).widths == (10, 14, 40)
    assert arrange(columns, [10, 8, 40], 200).widths == (10, 8, 40)


def test_the_least_important_column_goes_first_and_the_others_stay() -> None:
    columns = [Column("key"), Column("a", drop=1), Column("b", drop=2), Column("c", flexible=True)]
    natural = [20, 10, 10, 30]
    assert arrange(columns, natural, 76) == Layout((0, 1, 2, 3), (20, 10, 10, 30), ())
    assert arrange(columns, natural, 60).shown == (0, 1, 2, 3)
    assert arrange(columns, natural, 57) == Layout((0, 1, 3), (20, 10, 23), ())
    assert arrange(columns, natural, 45) == Layout((0, 3), (20, 23), ())


def test_a_key_alone_that_is_too_wide_is_shortened_rather_than_wrapped() -> None:
    line = drawn([Column("key")], [["a" * 50 + "b" * 50]], 20)[1]
    assert line == "a" * 10 + "…" + "b" * 9


@pytest.mark.parametrize("room", [30, 40, 60, 80])
def test_a_text_that_is_read_as_a_whole_continues_below_itself(room: int) -> None:
    columns = [
        Column("key"),
        Column("value", flexible=True, fold=True),
        Column("from", flexible=True, fold=True),
    ]
    row = ["order", "local,peer,mirror,ipfs,huggingface,modelscope", "environment MODELFETCH_SOURCES_ORDER"]
    head, *table = drawn(columns, [row, ["next", "1", "default"]], room)
    assert max(map(cell_len, table)) <= room
    start, end = head.index("value"), head.index("from")
    assert "".join(line[start:end].strip() for line in table[:-1]) == row[1]
    assert table[-1].split() == ["next", "1", "default"]


def test_a_long_value_is_divided_behind_its_commas() -> None:
    columns = [Column("key"), Column("value", flexible=True, fold=True)]
    table = drawn(columns, [["order", "local,peer,mirror,ipfs,huggingface"]], 26)[1:]
    assert table == ["order  local,peer,mirror,", "       ipfs,huggingface"]


def test_in_a_pipe_nothing_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, ROWS)
    told = capsys.readouterr().out
    assert all(name in told for name in NAMES)
    assert told.count(DIGEST) == len(ROWS)


@pytest.mark.parametrize(
    ("paths", "cells", "shown"),
    [
        (SHARDS[:2], 20, ["model-00001-of-…sors", "model-00002-of-…sors"]),
        (SHARDS[:2], 12, ["model-00001…", "model-00002…"]),
        (["a" * 20 + "1", "a" * 20 + "2"], 9, ["aaaa…aaa1", "aaaa…aaa2"]),
        (["onnx/decoder_model.onnx", "a"], 19, ["…decoder_model.onnx", "a"]),
    ],
)
def test_names_one_below_the_other_keep_what_tells_them_apart(
    paths: list[str], cells: int, shown: list[str]
) -> None:
    assert shorten_all(paths, cells, "…") == shown
