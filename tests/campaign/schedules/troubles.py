"""What places may do: as honest ones may, as a passing trouble, or as nobody should.

Each table is a list of makers: given a source of chance and the size of the largest file, a fault.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.origin import Content, Fault, Reply, faults

Maker = Callable[[random.Random, int], Fault]

ENDLESS = 1 << 40
"""Bytes that nobody reads to their end."""
COSTLY_SECONDS = 0.3
"""What is late by this much is honest still: less than the patience of the runs."""


def _silent_hops(count: int) -> Fault:
    """Redirects whose bodies never come."""
    moved, silent = faults.hops(count), faults.stall(0)

    def change(request: object, reply: Reply) -> Reply:
        moving = moved(request, reply)  # type: ignore[arg-type]
        return silent(request, moving) if moving.status == 302 else moving  # type: ignore[arg-type]

    return Fault("hops with silent bodies", change)


def _endless(fault: Fault) -> Fault:
    return faults.all_of(fault, faults.too_many(ENDLESS), faults.no_length())


def _encoding_label(reply: Reply) -> Reply:
    return reply.with_header("Content-Encoding", "gzip") if reply.status in (200, 206) else reply


def _upper_unit(reply: Reply) -> Reply:
    stated = reply.header("Content-Range")
    return reply if stated is None else reply.with_header("Content-Range", stated.replace("bytes", "Bytes"))


def _silent_after_all(reply: Reply) -> Reply:
    """Chunks without an end: all bytes come, then nothing, not even the last chunk."""
    return faults.stall(reply.body.size)(None, replace(reply, framing="chunked"))  # type: ignore[arg-type]


CLEAN: Sequence[Maker] = (
    lambda chance, size: faults.shorter_range(chance.randrange(max(1, size // 12), size + 2)),
    lambda chance, size: faults.no_length(),
    lambda chance, size: faults.chunked(),
    lambda chance, size: faults.http_1_0(),
    lambda chance, size: faults.changing_etag(),
    lambda chance, size: faults.weak_etag(),
    lambda chance, size: faults.etag(None),
    lambda chance, size: faults.ignored_range(),
    lambda chance, size: faults.all_of(faults.ignored_range(), faults.no_length()),
    lambda chance, size: faults.all_of(faults.ignored_range(), faults.chunked()),
    lambda chance, size: faults.ok_with_content_range(),
    lambda chance, size: faults.unknown_total(),
    lambda chance, size: faults.stale_keepalive(),
    lambda chance, size: faults.hops(chance.randrange(1, 5)),
    lambda chance, size: faults.continues(chance.randrange(1, 4)),
    lambda chance, size: faults.glued(chance.randrange(1, 5000), 0.01),
    lambda chance, size: faults.late(chance.uniform(0.0, COSTLY_SECONDS)),
    lambda chance, size: faults.trickle(max(2000, size // 20), 0.005),
    lambda chance, size: faults.two_lengths(0),
    lambda chance, size: faults.reason("\x1b[31mfine"),
    lambda chance, size: Fault("label of an encoding", lambda _request, reply: _encoding_label(reply)),
    lambda chance, size: Fault("range unit in capitals", lambda _request, reply: _upper_unit(reply)),
    lambda chance, size: Fault("chunks without an end", lambda _request, reply: _silent_after_all(reply)),
)
"""The right bytes come, whatever the answer looks like: no reason to leave a place, or even to retry."""

PASSING: Sequence[Maker] = (
    lambda chance, size: faults.cut(chance.random()),
    lambda chance, size: faults.cut(chance.random(), reset=True),
    lambda chance, size: faults.cut(chance.randrange(size)),
    lambda chance, size: faults.cut_head(chance.randrange(60)),
    lambda chance, size: faults.no_answer(),
    lambda chance, size: faults.no_answer(reset=True),
    lambda chance, size: faults.no_length_cut(chance.random()),
    lambda chance, size: faults.all_of(faults.chunked(), faults.cut(chance.random())),
    lambda chance, size: faults.chunked_without_end(),
    lambda chance, size: faults.status(chance.choice([500, 502, 503, 504, 429, 408])),
    lambda chance, size: faults.status(503, retry_after=0),
    lambda chance, size: faults.status(429, retry_after=chance.choice(["soon", "-1", ""])),
    lambda chance, size: faults.stall(chance.random()),
    lambda chance, size: faults.stall(),
    lambda chance, size: faults.stall_head(chance.randrange(1, 40)),
    lambda chance, size: _silent_hops(1),
)
"""What may pass: an honest place does it a few times, fewer than the tries it gets."""

WRONG: Sequence[Maker] = (
    lambda chance, size: faults.wrong_bytes(chance.random().hex()),
    lambda chance, size: faults.flipped(chance.randrange(size)),
    lambda chance, size: faults.too_many(chance.randrange(1, 100_000)),
    lambda chance, size: faults.all_of(faults.wrong_bytes(), faults.too_many(1000), faults.no_length()),
    lambda chance, size: faults.all_of(faults.wrong_bytes(), faults.too_many(1000), faults.chunked()),
    lambda chance, size: faults.all_of(faults.wrong_bytes(), faults.no_length()),
    lambda chance, size: faults.all_of(faults.wrong_bytes(), faults.chunked()),
    lambda chance, size: faults.all_of(faults.wrong_bytes(), faults.ignored_range()),
    lambda chance, size: faults.all_of(faults.wrong_bytes(), faults.cut(chance.random())),
    lambda chance, size: faults.all_of(faults.wrong_bytes(), faults.no_length_cut(chance.random())),
    lambda chance, size: faults.all_of(faults.flipped(chance.randrange(size)), faults.changing_etag()),
    lambda chance, size: _endless(faults.wrong_bytes()),
    lambda chance, size: _endless(faults.ignored_range()),
    lambda chance, size: faults.all_of(
        faults.ignored_range(), faults.wrong_bytes(), faults.too_many(7), faults.no_length()
    ),
    lambda chance, size: faults.other_revision(Content.random("other", size)),
    lambda chance, size: faults.other_revision(Content.random("other", chance.randrange(1, 2 * size))),
    lambda chance, size: faults.html_login(),
    lambda chance, size: faults.lfs_pointer(),
    lambda chance, size: faults.gzipped(),
    lambda chance, size: faults.wrong_start(chance.randrange(1, 999)),
    lambda chance, size: faults.wrong_end(chance.choice([-1, 1, 50])),
    lambda chance, size: faults.wrong_total(chance.choice([-1, 1, 50])),
    lambda chance, size: faults.other_range(start=chance.choice([-7, 7])),
    lambda chance, size: faults.multipart(),
    lambda chance, size: faults.unasked_range(chance.randrange(1, 3000)),
)
"""Lies: bytes that are not the file's, or that are somebody else's."""

REFUSING: Sequence[Maker] = (
    lambda chance, size: faults.status(chance.choice([400, 401, 403, 404, 410, 418, 451])),
    lambda chance, size: faults.status(chance.choice([500, 502, 503, 504, 520, 529])),
    lambda chance, size: faults.status(429, retry_after=chance.choice(["0", "99999", "never"])),
    lambda chance, size: faults.retry_at(503, chance.choice([-50, 5000])),
    lambda chance, size: faults.rate_limited(),
    lambda chance, size: faults.no_answer(reset=chance.random() < 0.5),
    lambda chance, size: faults.cut(chance.randrange(1, 2000)),
    lambda chance, size: faults.cut(0),
    lambda chance, size: faults.raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    lambda chance, size: faults.raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
    lambda chance, size: faults.redirect_loop(),
    lambda chance, size: faults.no_location(),
    lambda chance, size: faults.redirect("http://127.0.0.1:1/nobody"),
    lambda chance, size: faults.control_bytes_location(),
    lambda chance, size: faults.big_header(),
    lambda chance, size: faults.many_headers(),
    lambda chance, size: faults.unsatisfiable(chance.choice([None, 0, 12])),
    lambda chance, size: faults.unsatisfiable_unknown(),
    lambda chance, size: faults.content_range("bytes */{total}"),
    lambda chance, size: faults.wrong_unit(),
    lambda chance, size: faults.no_content_range(),
    lambda chance, size: faults.two_lengths(5),
    lambda chance, size: faults.wrong_length(chance.choice([-99, -1, 1, 5000])),
    lambda chance, size: faults.chunked_with_length(9),
    lambda chance, size: faults.continues(500),
)
"""Places that do not deliver, for whichever reason."""

SILENT: Sequence[Maker] = (
    lambda chance, size: faults.stall(chance.random()),
    lambda chance, size: faults.stall(),
    lambda chance, size: faults.stall_head(chance.randrange(1, 40)),
    lambda chance, size: faults.trickle(1, 0.1),
    lambda chance, size: _silent_hops(99),
)
"""Places that let us wait, each time for as long as our patience lasts."""

MOST_SILENCES = 10
"""Silences of one place: fifty files would wait for them five times each, as is right, and for minutes."""

REPEATED_CUT = 2_200_000
"""Bytes after which an honest place may cut each answer: with fewer than five cuts in the 8 MiB after which
tries are counted anew (design: retry rules)."""
