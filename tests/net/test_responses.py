"""The decision table: what each response to a range request means."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.errors import Fault, SourceError
from modelfetch.net.responses import Accept, RangeRequest, Resend, ResponseHead, judge, strong_etag

SIZE = 1000
ETAG = '"abc"'
WHOLE = RangeRequest(0, SIZE)
REST = RangeRequest(400, SIZE)
TAGGED = replace(REST, etag=ETAG)
PLAIN = replace(REST, ranged=False)
RENEWED = replace(REST, fresh=False)


def verdict(wanted: RangeRequest, head: ResponseHead) -> Accept | Resend | Fault:
    try:
        return judge(wanted, head)
    except SourceError as error:
        return error.fault


def fails(wanted: RangeRequest, head: ResponseHead) -> SourceError:
    with pytest.raises(SourceError) as caught:
        judge(wanted, head)
    return caught.value


def Part(start: int, length: int) -> Accept:
    """The requested part, or the beginning of it."""
    return Accept(start, length, ranged=True)


def ok(length: int | None = SIZE, **headers: str) -> ResponseHead:
    return ResponseHead(200, _lengthy(length, headers))


def part(label: str, length: int | None = 600, **headers: str) -> ResponseHead:
    return ResponseHead(206, {"content-range": label} | _lengthy(length, headers))


def _lengthy(length: int | None, headers: dict[str, str]) -> dict[str, str]:
    known = {} if length is None else {"content-length": str(length)}
    return known | {name.replace("_", "-"): value for name, value in headers.items()}


# 206


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("wanted", "head", "expected"),
    [
        pytest.param(REST, part("bytes 400-999/1000"), Part(400, 600), id="exact"),
        pytest.param(REST, part("bytes 400-499/1000", 100), Part(400, 100), id="shorter"),
        pytest.param(REST, part("bytes 400-400/1000", 1), Part(400, 1), id="one byte"),
        pytest.param(REST, part("bytes 400-999/1000", None), Part(400, 600), id="no length"),
        pytest.param(
            REST, part("bytes 400-999/1000", 5, transfer_encoding="chunked"), Part(400, 600), id="chunked"
        ),
        pytest.param(WHOLE, part("bytes 0-999/1000", 1000), Part(0, 1000), id="from the start"),
        pytest.param(REST, part("bytes 400-999/*"), Part(400, 600), id="unknown total, exact range"),
        pytest.param(REST, part("bytes 400-499/*", 100), Part(400, 100), id="unknown total, shorter"),
        pytest.param(REST, part("bytes 300-999/*", 700), Resend(PLAIN), id="unknown total, other start"),
        pytest.param(
            REST, ResponseHead(206, {"content-length": "600"}), Resend(PLAIN), id="no Content-Range"
        ),
        pytest.param(REST, part("bytes 399-998/1000"), Resend(PLAIN), id="earlier start"),
        pytest.param(REST, part("bytes 401-999/1000", 599), Resend(PLAIN), id="later start"),
        pytest.param(REST, part("bytes 0-599/1000"), Resend(PLAIN), id="from the start instead"),
        pytest.param(REST, part("bytes 400-1000/1000", 601), Resend(PLAIN), id="end beyond the file"),
        pytest.param(REST, part("bytes 400-399/1000", 0), Resend(PLAIN), id="empty"),
        pytest.param(REST, part("bytes 400-300/1000"), Resend(PLAIN), id="end before start"),
        pytest.param(REST, part("bytes 400-998/999", 599), Resend(PLAIN), id="smaller total"),
        pytest.param(REST, part("bytes 400-1000/1001", 601), Resend(PLAIN), id="larger total"),
        pytest.param(REST, part("items 400-999/1000"), Resend(PLAIN), id="other unit"),
        pytest.param(REST, part("400-999/1000"), Resend(PLAIN), id="no unit"),
        pytest.param(REST, part("bytes */1000"), Resend(PLAIN), id="unsatisfied in a 206"),
        pytest.param(REST, part("bytes 400-999"), Resend(PLAIN), id="no total"),
        pytest.param(REST, part("bytes 400-999/1000, bytes 400-999/1000"), Resend(PLAIN), id="two of them"),
        pytest.param(REST, part("bytes 4٠٠-999/1000"), Resend(PLAIN), id="other digits"),
        pytest.param(REST, part(f"bytes 400-{10**30}/1000"), Resend(PLAIN), id="huge end"),
        pytest.param(REST, part("bytes -400-999/1000"), Resend(PLAIN), id="negative start"),
        pytest.param(
            REST,
            ResponseHead(206, {"content-type": "multipart/byteranges; boundary=B", "content-length": "700"}),
            Resend(PLAIN),
            id="multipart",
        ),
        pytest.param(REST, part("bytes 400-999/1000", 599), Resend(PLAIN), id="length below range"),
        pytest.param(REST, part("bytes 400-999/1000", 601), Resend(PLAIN), id="length above range"),
        pytest.param(REST, part("Bytes 400-999/1000"), Part(400, 600), id="unit in capitals"),
        pytest.param(REST, part("bytes 400-999/1000", content_encoding="gzip"), Part(400, 600), id="gzip"),
        pytest.param(
            REST, part("bytes 400-999/*", None, content_encoding="gzip"), Fault.PROTOCOL, id="gzip, no size"
        ),
        pytest.param(
            REST, part("bytes 400-499/500", 100, content_encoding="gzip"), Fault.PROTOCOL, id="gzip, smaller"
        ),
        pytest.param(
            REST, part("bytes 400-999/1000", content_encoding="Identity"), Part(400, 600), id="identity"
        ),
        pytest.param(REST, part("bytes 400-999/1", content_encoding="\x1b"), Fault.PROTOCOL, id="ESC coding"),
        pytest.param(PLAIN, part("bytes 400-999/1000"), Fault.PROTOCOL, id="not asked for"),
        pytest.param(PLAIN, part("bytes 0-999/1000", 1000), Accept(0, 1000), id="not asked for, whole"),
        pytest.param(TAGGED, part("bytes 400-999/1000", etag=ETAG), Part(400, 600), id="same ETag"),
        pytest.param(TAGGED, part("bytes 400-999/1000"), Part(400, 600), id="no ETag"),
        pytest.param(TAGGED, part("bytes 400-999/1000", etag='W/"abc"'), Part(400, 600), id="weak ETag"),
        pytest.param(TAGGED, part("bytes 400-999/1000", etag='"new"'), Part(400, 600), id="other ETag"),
    ],
)
def test_partial_content(wanted: RangeRequest, head: ResponseHead, expected: Accept | Resend | Fault) -> None:
    assert verdict(wanted, head) == expected


# 200


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("wanted", "head", "expected"),
    [
        pytest.param(WHOLE, ok(), Accept(0, SIZE), id="whole"),
        pytest.param(WHOLE, ok(None), Accept(0, None), id="no length"),
        pytest.param(WHOLE, ok(5, transfer_encoding="chunked"), Accept(0, None), id="chunked"),
        pytest.param(WHOLE, ok(999), Fault.SIZE, id="too short"),
        pytest.param(WHOLE, ok(1001), Fault.SIZE, id="too long"),
        pytest.param(WHOLE, ok(0), Fault.SIZE, id="empty"),
        pytest.param(REST, ok(600), Fault.SIZE, id="as long as the range, unlabelled"),
        pytest.param(TAGGED, ok(999, etag=ETAG), Fault.SIZE, id="other length for a range"),
        pytest.param(WHOLE, ok(content_range="bytes 0-999/1000"), Part(0, SIZE), id="with Content-Range"),
        pytest.param(
            REST, ok(600, content_range="bytes 400-999/1000"), Part(400, 600), id="range with Content-Range"
        ),
        pytest.param(REST, ok(100, content_range="bytes 400-499/1000"), Resend(PLAIN), id="shorter range"),
        pytest.param(
            REST, ok(1000, content_range="bytes 400-999/1000"), Resend(PLAIN), id="range, all bytes"
        ),
        pytest.param(REST, ok(content_range="bytes 0-999/1000"), Resend(PLAIN), id="another range"),
        pytest.param(PLAIN, ok(content_range="bytes */1000"), Accept(0, SIZE), id="plain with Content-Range"),
        pytest.param(WHOLE, ok(content_encoding="gzip"), Accept(0, SIZE), id="gzip of the pinned length"),
        pytest.param(WHOLE, ok(999, content_encoding="gzip"), Fault.PROTOCOL, id="gzip of another length"),
        pytest.param(WHOLE, ok(None, content_encoding="gzip"), Fault.PROTOCOL, id="gzip of some length"),
        pytest.param(WHOLE, ok(content_encoding="identity"), Accept(0, SIZE), id="identity"),
        pytest.param(WHOLE, ok(7, content_encoding="\x1b\x07"), Fault.PROTOCOL, id="controls as coding"),
        pytest.param(TAGGED, ok(etag='"new"'), Resend(REST), id="other ETag"),
        pytest.param(TAGGED, ok(etag=ETAG), Resend(REST), id="range ignored, same ETag"),
        pytest.param(TAGGED, ok(), Resend(REST), id="range ignored, no ETag"),
        pytest.param(TAGGED, ok(etag='W/"new"'), Resend(REST), id="range ignored, weak ETag"),
        pytest.param(REST, ok(), Resend(PLAIN), id="range ignored without validator"),
        pytest.param(REST, ok(None), Resend(PLAIN), id="range ignored, no length"),
        pytest.param(PLAIN, ok(), Accept(0, SIZE), id="plain: whole file, our part skipped"),
        pytest.param(PLAIN, ok(None), Accept(0, None), id="plain: no length"),
    ],
)
def test_ok(wanted: RangeRequest, head: ResponseHead, expected: Accept | Resend | Fault) -> None:
    assert verdict(wanted, head) == expected


def test_a_web_page_is_recognized() -> None:
    error = fails(WHOLE, ok(2345, content_type="text/html; charset=utf-8"))
    assert error.message == "sent a web page of 2345 bytes instead of the file"
    assert "login" in error.hint


def test_a_git_lfs_pointer_is_recognized() -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1000\n"
    error = fails(WHOLE, replace(ok(130, content_type="text/plain"), excerpt=pointer))
    assert "Git LFS pointer" in error.message
    assert error.hint


def test_another_size_names_both_sizes_and_the_type() -> None:
    error = fails(WHOLE, ok(999, content_type="application/octet-stream"))
    assert error.message == "has 999 bytes instead of 1000 (application/octet-stream)"


# 416


@pytest.mark.parametrize(
    ("wanted", "label", "expected"),
    [
        pytest.param(REST, "bytes */1000", Resend(PLAIN), id="right size: contradictory, plain GET"),
        pytest.param(TAGGED, "bytes */1000", Resend(PLAIN), id="gives the validator up too"),
        pytest.param(REST, "bytes */999", Resend(PLAIN), id="smaller"),
        pytest.param(REST, "bytes */300", Resend(PLAIN), id="ends before our offset"),
        pytest.param(REST, "bytes */1001", Resend(PLAIN), id="larger"),
        pytest.param(REST, "", Resend(PLAIN), id="size not stated"),
        pytest.param(REST, "bytes */*", Resend(PLAIN), id="size unknown"),
        pytest.param(REST, "garbage", Resend(PLAIN), id="garbage"),
        pytest.param(PLAIN, "bytes */1000", Fault.PROTOCOL, id="no range was asked for"),
        pytest.param(PLAIN, "", Fault.PROTOCOL, id="no range was requested, size not stated"),
        pytest.param(PLAIN, "bytes */999", Fault.PROTOCOL, id="other size to a plain request"),
    ],
)
def test_range_not_satisfiable(wanted: RangeRequest, label: str, expected: Resend | Fault) -> None:
    assert verdict(wanted, ResponseHead(416, {"content-range": label} if label else {})) == expected


# Everything else


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    ("status", "fault"),
    [
        *((status, Fault.PROTOCOL) for status in (201, 202, 203, 204, 205, 207, 226, 300, 304, 305, 306)),
        *((status, Fault.PROTOCOL) for status in (400, 402, 406, 409, 411, 412, 413, 414, 415, 417, 418)),
        *((status, Fault.PROTOCOL) for status in (421, 422, 423, 424, 426, 428, 431, 505, 511, 599, 600)),
        *((status, Fault.AUTHORIZATION) for status in (401, 403)),
        *((status, Fault.NOT_FOUND) for status in (404, 410, 451)),
        *((status, Fault.BUSY) for status in (408, 425, 429, 503, 529)),
        *((status, Fault.SERVER) for status in (500, 502, 504, 520, 521, 522, 523, 524)),
        (407, Fault.PROXY),
    ],
)
def test_statuses_that_deliver_nothing(status: int, fault: Fault) -> None:
    error = fails(REST, ResponseHead(status, {}))
    assert error.fault is fault
    assert error.retry == (fault in (Fault.BUSY, Fault.SERVER))


@pytest.mark.parametrize("status", [405, 501])
def test_a_refused_range_is_given_up_once(status: int) -> None:
    assert verdict(TAGGED, ResponseHead(status, {})) == Resend(PLAIN)
    assert verdict(PLAIN, ResponseHead(status, {})) is Fault.PROTOCOL


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_signed_link_is_renewed_once(status: int) -> None:
    assert verdict(REST, ResponseHead(status, {}, redirected=True)) == Resend(RENEWED)
    assert isinstance(verdict(RENEWED, ResponseHead(status, {}, redirected=True)), Fault)


def test_withheld_for_legal_reasons_is_no_expired_link() -> None:
    assert verdict(REST, ResponseHead(451, {}, redirected=True)) is Fault.NOT_FOUND


@pytest.mark.parametrize(("status", "word"), [(410, "410"), (451, "legal")])
def test_gone_and_withheld_have_messages_of_their_own(status: int, word: str) -> None:
    assert word in fails(WHOLE, ResponseHead(status, {})).message


@pytest.mark.parametrize("status", [429, 503, 500, 403])
def test_a_wish_to_wait_is_passed_on(status: int) -> None:
    assert fails(WHOLE, ResponseHead(status, {"retry-after": "17"})).retry_after == 17.0


def test_a_refusal_with_retry_after_is_a_rate_limit() -> None:
    error = fails(WHOLE, ResponseHead(403, {"retry-after": "5"}))
    assert error.fault is Fault.BUSY
    assert error.retry


def test_a_server_that_is_called_by_another_name_says_how_to_teach_it() -> None:
    error = fails(REST, ResponseHead(421, {}))
    assert error.message == "it does not know itself by this name (421)"
    assert "--allow-host" in error.hint


@pytest.mark.parametrize("status", [407, 511])
def test_failures_that_a_user_can_fix_have_a_hint(status: int) -> None:
    assert fails(WHOLE, ResponseHead(status, {})).hint


@pytest.mark.parametrize(
    "excerpt",
    ["ipld: could not find node bafy", "failed to load root node: x", "peer does not have the block"],
)
def test_a_gateway_without_the_block_says_so_with_status_500(excerpt: str) -> None:
    assert fails(WHOLE, ResponseHead(500, {}, excerpt=excerpt)).fault is Fault.NOT_FOUND


# Validators


@pytest.mark.parametrize(
    ("etag", "strong"),
    [
        ('"abc"', '"abc"'),
        (' "abc" ', '"abc"'),
        ('""', '""'),
        ('W/"abc"', ""),
        ('w/"abc"', ""),
        ("abc", ""),
        ('"a"b"', ""),
        ('"a b"', ""),
        ('"a\x1bb"', ""),
        ('"é"', ""),
        ('"a", "b"', ""),
        ("", ""),
    ],
)
def test_only_a_strong_validator_counts(etag: str, strong: str) -> None:
    assert strong_etag({"etag": etag}) == strong


def test_no_validator() -> None:
    assert strong_etag({}) == ""


# Properties of any response

HOSTILE = st.sampled_from(
    [
        "",
        "0",
        "-1",
        "1000",
        "600",
        "9" * 5000,
        "bytes 400-999/1000",
        "bytes 0-999/1000",
        "bytes 400-499/1000",
        "bytes */1000",
        "bytes */5",
        "gzip",
        "identity",
        "\x1b]0;owned\x07",
        "\u202egnp.exe",
        "text/html\x1b[2J; x",
        '"abc"',
        '"new"',
        'W/"abc"',
        "Wed, 21 Oct 2026 07:28:00 GMT",
        '"api";r=0;t=55',
    ]
)
NAMES = st.sampled_from(
    [
        "content-range",
        "content-length",
        "content-type",
        "content-encoding",
        "transfer-encoding",
        "etag",
        "retry-after",
        "ratelimit",
        "date",
        "location",
    ]
)
STATUSES = st.one_of(st.sampled_from([200, 206, 401, 403, 405, 416, 501, 503]), st.integers(100, 999))
ANSWERS = st.builds(
    ResponseHead,
    status=STATUSES,
    headers=st.dictionaries(NAMES, st.one_of(HOSTILE, st.text(max_size=40)), max_size=6),
    redirected=st.booleans(),
    excerpt=st.one_of(HOSTILE, st.text(max_size=40)),
)
ASKS = st.builds(
    RangeRequest,
    start=st.sampled_from([0, 1, 400, 999]),
    size=st.just(SIZE),
    ranged=st.booleans(),
    etag=st.sampled_from(["", ETAG]),
    fresh=st.booleans(),
)


def left_to_give_up(wanted: RangeRequest) -> int:
    return bool(wanted.etag) + wanted.ranged + wanted.fresh


def words(wanted: RangeRequest, head: ResponseHead) -> str:
    try:
        judge(wanted, head)
    except SourceError as error:
        return f"{error.message} {error.hint}"
    return ""


@given(ASKS, ANSWERS)
def test_every_answer_is_judged_and_no_remote_control_reaches_the_words(
    wanted: RangeRequest, head: ResponseHead
) -> None:
    said = words(wanted, head)
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in said)
    assert len(said) < 300


@given(ASKS, ANSWERS)
def test_accepted_bytes_are_proven_and_inside_the_file(wanted: RangeRequest, head: ResponseHead) -> None:
    decision = verdict(wanted, head)
    if isinstance(decision, Accept):
        assert decision.start in (0, wanted.start)
        assert decision.start == wanted.start or not wanted.ranged
        assert decision.start + (decision.length or 0) <= wanted.size
        if decision.start:
            assert head.headers["content-range"].lower().startswith(f"bytes {wanted.start}-")


@given(ASKS, st.lists(ANSWERS, min_size=4, max_size=4))
@pytest.mark.slow
def test_a_chain_of_repetitions_ends(wanted: RangeRequest, answers: list[ResponseHead]) -> None:
    for head in answers:
        decision = verdict(wanted, head)
        if not isinstance(decision, Resend):
            return
        assert left_to_give_up(decision.request) < left_to_give_up(wanted)
        wanted = decision.request
    raise AssertionError("four repetitions although there are three things to give up")


def test_a_server_with_a_full_disk_is_named_as_such() -> None:
    error = fails(REST, ResponseHead(507, {}))
    assert (error.fault, error.retry) == (Fault.PROTOCOL, False)
    assert "its disk is full" in error.message
