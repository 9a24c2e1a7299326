"""Requests of the gateway protocol: formats and their precedence, scopes, ranges, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfetch.ipfs.cid import Cid
from modelfetch.ipfs.trustless_request import (
    CAR_TYPE,
    LENGTH_LIMIT,
    RAW_TYPE,
    ByteRange,
    Format,
    RequestError,
    Scope,
    TrustlessRequest,
    parse_request,
)

TEXT = "bafybeigcisqd7m5nf3qmuvjdbakl5bdnh4ocrmacaqkpuh77qjvggmt2sa"
CID = Cid.parse(TEXT)
URL = f"/ipfs/{TEXT}"


@pytest.mark.parametrize(
    ("query", "accept", "expected"),
    [
        ("?format=raw", "", Format.RAW),
        ("?format=car", "", Format.CAR),
        ("", RAW_TYPE, Format.RAW),
        ("", CAR_TYPE, Format.CAR),
        ("", f"{CAR_TYPE}; version=1; order=dfs; dups=y", Format.CAR),
        ("", f"text/html, {RAW_TYPE.upper()} ; q=0.9, */*", Format.RAW),
        ("", f"{RAW_TYPE};q=0.5, {CAR_TYPE};q=0.8", Format.CAR),
        ("", f"{RAW_TYPE}, {CAR_TYPE}", Format.RAW),
        ("", f"{RAW_TYPE};q=0, {CAR_TYPE};q=0.1", Format.CAR),
        ("", f"{RAW_TYPE};q=nonsense, {CAR_TYPE};q=0.9", Format.RAW),
        # IPIP-523: the query prevails.
        ("?format=car", RAW_TYPE, Format.CAR),
        ("?format=raw", CAR_TYPE, Format.RAW),
        ("?format=raw&format=car", "", Format.RAW),
        ("?x=y&format=raw&dag-scope=", "", Format.RAW),
    ],
)
def test_the_format(query: str, accept: str, expected: Format) -> None:
    assert parse_request(URL + query, accept).format is expected


@pytest.mark.parametrize(
    ("query", "accept", "duplicates"),
    [
        ("", "", False),
        ("", f"{CAR_TYPE}; dups=y", True),
        ("", f'{CAR_TYPE}; dups="Y"', True),
        ("", f"{CAR_TYPE}; dups=n", False),
        ("&car-dups=y", f"{CAR_TYPE}; dups=n", True),
        ("&car-dups=n", f"{CAR_TYPE}; dups=y", False),
        ("&car-order=dfs", f"{CAR_TYPE}; order=other", False),
        ("&car-order=unk&car-version=1", f"{CAR_TYPE}; version=2", False),
        ("", f"{CAR_TYPE};order=unk, {CAR_TYPE};dups=y;q=0.5", False),
        ("", f"{CAR_TYPE};order=unk;q=0.2, {CAR_TYPE};dups=y;q=0.5", True),
    ],
)
def test_the_variant_of_car(query: str, accept: str, duplicates: bool) -> None:
    assert parse_request(f"{URL}?format=car{query}", accept).duplicates is duplicates


def test_scope_and_range() -> None:
    for scope in Scope:
        assert parse_request(f"{URL}?format=car&dag-scope={scope}").scope is scope
    assert parse_request(f"{URL}?format=car").scope is Scope.ALL
    # entity-bytes implies the scope (IPIP-402)
    for query in ("entity-bytes=0:*", "dag-scope=all&entity-bytes=0:*", "entity-bytes=0:*&dag-scope=block"):
        request = parse_request(f"{URL}?format=car&{query}")
        assert request == TrustlessRequest(CID, Format.CAR, (), Scope.ENTITY, ByteRange(0, None))


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("", []),
        ("/", []),
        ("/a", ["a"]),
        ("/a/b/", ["a", "b"]),
        ("/a%20b/%25/+/%C4%85", ["a b", "%", "+", "ą"]),
        ("/%252C", ["%2C"]),
        ("//a", ["", "a"]),
        ("/a//", ["a", ""]),
        ("/../a", ["..", "a"]),
        ("/a%2Fb", ["a/b"]),
        ("/%ff%00", ["\udcff\0"]),
        ("/%zz", ["%zz"]),
    ],
)
def test_the_path_is_decoded_once(location: str, path: list[str]) -> None:
    """Names are checked when they are looked up."""
    expected = tuple(name.encode(errors="surrogateescape") for name in path)
    assert parse_request(f"{URL}{location}?format=car").path == expected


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("target", "accept", "status", "message"),
    [
        (URL, "", 400, "add .format=raw or .format=car"),
        (URL, "text/html, */*", 400, "add .format=raw"),
        (URL, f"{RAW_TYPE};q=0", 400, "add .format=raw"),
        (f"{URL}?format=tar", RAW_TYPE, 406, "supported formats are raw and car"),
        (f"{URL}?format=", "", 406, "supported formats are raw and car"),
        (f"{URL}?format=CAR", "", 406, "supported formats are raw and car"),
        (f"{URL}?format=ipns-record", "", 406, "supported formats are raw and car"),
        (f"{URL}/a?format=raw", "", 400, "by its CID alone, without a path"),
        (f"{URL}?format=car&car-version=2", "", 406, "supported are CAR version 1"),
        (f"{URL}?format=car", f"{CAR_TYPE}; version=2", 406, "supported are CAR version 1"),
        (f"{URL}?format=car&car-order=bfs", "", 406, "order dfs or unk"),
        (f"{URL}?format=car&car-dups=maybe", "", 406, "dups y or n"),
        (f"{URL}?format=car&dag-scope=file", "", 400, "dag-scope must be block, entity or all"),
        (f"{URL}?format=car&dag-scope=", "", 400, "dag-scope must be block, entity or all"),
        ("/ipns/example.org?format=car", "", 400, "path does not begin with /ipfs/"),
        (TEXT, "", 400, "path does not begin with /ipfs/"),
        ("/ipfs/?format=raw", "", 400, "^CID: "),
        ("/ipfs/Qm?format=raw", "", 400, "^CID: "),
        ("/ipfs/bafyreibs4utpgbn7uqegmd2goqz4bkyflre2ek2iwv743fhvylwi4zeeim?format=raw", "", 400, "dag-cbor"),
        (f"{URL}?{'a=b&' * 70}format=raw", "", 400, "query has more than 64 fields"),
        (f"{URL}/ą?format=car", "", 400, "others than ASCII"),
        (f"{URL}/{'a' * LENGTH_LIMIT}?format=car", "", 400, "more than 16384 characters"),
        (URL, "a" * (LENGTH_LIMIT + 1), 400, "more than 16384 characters"),
    ],
)  # fmt: skip
def test_refused_requests(target: str, accept: str, status: int, message: str) -> None:
    with pytest.raises(RequestError, match=message) as error:
        parse_request(target, accept)
    assert error.value.status == status


INVALID = (
    ": 0: :5 *:5 a:b 0x0:1 1.5:2 0:1:2 --1:* +1:2 0:** ٣:* "
    "5:4 -1:-2 0:99999999999999999999 1_0:* 0-5 bytes=0:5"
)


@pytest.mark.quick(every=4)
@pytest.mark.parametrize("value", ["", " 0:1", "0:1 ", *INVALID.split()])
def test_invalid_ranges(value: str) -> None:
    with pytest.raises(RequestError, match=r"entity-bytes must (be two numbers|not end before it begins)"):
        parse_request(f"{URL}?format=car&entity-bytes={quote(value)}")


@pytest.mark.parametrize(
    ("value", "size", "expected"),
    [
        ("0:*", 1026, (0, 1025)),
        ("0:0", 1026, (0, 0)),
        ("512:*", 1026, (512, 1025)),
        ("512:1023", 1026, (512, 1023)),
        ("512:-256", 1026, (512, 770)),
        ("-5:*", 1026, (1021, 1025)),
        ("-9999:*", 1026, (0, 1025)),
        ("-9999:-3", 1026, (0, 1023)),
        ("-1:-1", 1026, (1025, 1025)),
        ("-1:5000", 1026, (1025, 1025)),
        ("1025:9223372036854775807", 1026, (1025, 1025)),
        ("-0:*", 10, (0, 9)),
        ("499:-1000", 1026, None),  # ends before it begins
        ("-3:5", 1026, None),
        ("0:*", 0, None),
        ("-1:*", 0, None),
        ("5:9", 0, None),
    ],
)
def test_ranges(value: str, size: int, expected: tuple[int, int] | None) -> None:
    found = parse_request(f"{URL}?format=car&entity-bytes={value}").entity_bytes
    assert found is not None
    assert found.resolve(size) == expected
    assert str(found) == value.replace("-0:", "0:")


@pytest.mark.parametrize("value", ["1026:*", "1026:2000", "9999:*", "0:-1027", "-9999:-2000"])
def test_ranges_outside_of_the_file_are_refused(value: str) -> None:
    found = parse_request(f"{URL}?format=car&entity-bytes={value}").entity_bytes
    assert found is not None
    with pytest.raises(RequestError, match="outside of the file, which has 1026 bytes") as error:
        found.resolve(1026)
    assert error.value.status == 400


@settings(max_examples=40)
@given(st.text(max_size=30), st.text(max_size=30))
def test_nothing_else_is_raised(text: str, accept: str) -> None:
    for target in (text, f"{URL}{text}", f"{URL}?format=car&{text}", f"{URL}?format=car&entity-bytes={text}"):
        with suppress(RequestError):
            parse_request(target, accept)
