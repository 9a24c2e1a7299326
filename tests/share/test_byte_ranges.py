"""Conditions and ranges of requests, by RFC 9110."""

from __future__ import annotations

import pytest

from modelfetch.share.byte_ranges import Selection, select

TAG = '"abc"'


@pytest.mark.parametrize(
    ("value", "size", "expected"),
    [
        ("bytes=0-0", 10, (206, 0, 1)),
        ("bytes=2-5", 10, (206, 2, 4)),
        ("bytes=2-", 10, (206, 2, 8)),
        ("bytes=9-", 10, (206, 9, 1)),
        ("bytes=5-99", 10, (206, 5, 5)),
        ("bytes=-3", 10, (206, 7, 3)),
        ("bytes=-99", 10, (206, 0, 10)),
        ("BYTES=2-5", 10, (206, 2, 4)),
        (" bytes= 2-5 ", 10, (206, 2, 4)),
        ("bytes=10-", 10, (416, 0, 0)),
        ("bytes=10-20", 10, (416, 0, 0)),
        ("bytes=-0", 10, (416, 0, 0)),
        ("bytes=9999999999999999999-", 10, (416, 0, 0)),
        ("bytes=0-9999999999999999999", 10, (206, 0, 10)),
    ],
)
def test_one_range(value: str, size: int, expected: tuple[int, int, int]) -> None:
    assert select("GET", {"range": value}, TAG, size) == Selection(*expected)


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    "value",
    [
        *("bytes=5-2", "bytes=", "bytes=-", "bytes=a-b", "bytes=1-2-3", "bytes 1-2", "items=1-2", ""),
        *("bytes=0-1,3-4", "bytes=0-1,", "bytes=-1,-1", "bytes=+1-2", "bytes=1.0-2", "bytes=0x1-2"),
        *("bytes=" + ",".join(["0-"] * 2000), "bytes=" + "9" * 5000 + "-", "bytes=\u0661-\u0662"),
    ],
)
def test_a_malformed_range_and_several_are_answered_with_the_whole_file(value: str) -> None:
    assert select("GET", {"range": value}, TAG, 10) == Selection(200, 0, 10)


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=-5", "bytes=5-6"])
def test_an_empty_file_has_no_ranges(value: str) -> None:
    assert select("GET", {"range": value}, TAG, 0) == Selection(200, 0, 0)


def test_a_range_counts_for_get_only() -> None:
    assert select("HEAD", {"range": "bytes=2-5"}, TAG, 10) == Selection(200, 0, 10)


@pytest.mark.parametrize("value", [TAG, f"W/{TAG}", "*", f'"other", {TAG}', f'"other",W/{TAG} , "x"'])
def test_a_client_that_has_the_file_gets_304(value: str) -> None:
    assert select("GET", {"if-none-match": value, "range": "bytes=0-1"}, TAG, 10).status == 304
    assert select("HEAD", {"if-none-match": value}, TAG, 10).status == 304


@pytest.mark.parametrize("value", ['"other"', "", "abc", '"abc', 'W/"other", "b,c"'])
def test_a_client_that_has_another_file_gets_this_one(value: str) -> None:
    assert select("GET", {"if-none-match": value}, TAG, 10) == Selection(200, 0, 10)


@pytest.mark.parametrize(
    ("value", "status"), [(TAG, 206), (f" {TAG} ", 206), ('"other"', 200), (f"W/{TAG}", 200), ("abc", 200)]
)
def test_if_range_needs_the_strong_tag(value: str, status: int) -> None:
    """A date never matches either: there is no modification time."""
    assert select("GET", {"if-range": value, "range": "bytes=1-2"}, TAG, 10).status == status
    date = "Sun, 29 Nov 2026 06:00:00 GMT"
    assert select("GET", {"if-range": date, "range": "bytes=1-2"}, TAG, 10).status == 200


@pytest.mark.parametrize(("value", "status"), [(TAG, 200), ("*", 200), ('"other"', 412), (f"W/{TAG}", 412)])
def test_if_match_needs_the_strong_tag(value: str, status: int) -> None:
    assert select("GET", {"if-match": value}, TAG, 10).status == status


def test_conditions_on_dates_do_not_apply() -> None:
    fields = {"if-modified-since": "Sun, 29 Nov 2099 06:00:00 GMT", "if-unmodified-since": "x"}
    assert select("GET", fields, TAG, 10) == Selection(200, 0, 10)
