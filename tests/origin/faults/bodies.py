"""Faults of bodies: what is sent is not the file."""

from __future__ import annotations

import zlib
from dataclasses import replace
from functools import cache

from tests.origin.content import Content
from tests.origin.faults.base import Fault, file_fault, reply_fault
from tests.origin.message import Reply
from tests.origin.ranges import span_of

MIB = 1 << 20

LOGIN_PAGE = b"""<!DOCTYPE html>
<html><head><title>Sign in to the guest network</title></head>
<body><form action="/login" method="post"><input name="user"><input name="password"></form></body></html>
"""


def flipped(at: int = 0, bit: int = 0) -> Fault:
    """The right length with one bit turned over, in byte number `at` of the whole file."""
    return file_fault(
        f"bit flipped at {at}",
        lambda reply: replace(reply, body=reply.body.flipped(at - span_of(reply).start, bit)),
    )


def wrong_bytes(seed: int | str = "wrong") -> Fault:
    """The right length and headers over entirely different bytes."""

    def change(reply: Reply) -> Reply:
        span = span_of(reply)
        other = Content.random(seed, reply.whole.size).window(span.start, span.stop)
        return replace(reply, body=other)

    return file_fault("wrong bytes", change)


def too_many(extra: int = 1000) -> Fault:
    """The right bytes, then more of them, truly counted by Content-Length; Content-Range stays as it was."""
    more = Content.zeros(extra)
    return file_fault(f"{extra} B too many", lambda reply: replace(reply, body=reply.body.followed_by(more)))


def html_login() -> Fault:
    """200 with the login page of a captive portal."""
    page = Reply(200, (("Content-Type", "text/html; charset=utf-8"),), body=Content.of(LOGIN_PAGE))
    return reply_fault("login page", lambda _reply: page)


def lfs_pointer() -> Fault:
    """200 with the Git LFS pointer of the file instead of the file."""

    def change(reply: Reply) -> Reply:
        text = (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{reply.whole.sha256}\nsize {reply.whole.size}\n"
        )
        return Reply(200, (("Content-Type", "text/plain"),), body=Content.of(text.encode()))

    return reply_fault("LFS pointer", change)


def gzipped() -> Fault:
    """The reply's body, a range too, with Content-Encoding gzip."""

    def change(reply: Reply) -> Reply:
        squeezed = zlib.compress(reply.body.data, level=1, wbits=31)
        return replace(reply, body=Content.of(squeezed)).with_header("Content-Encoding", "gzip")

    return file_fault("gzip", change)


def gzip_bomb(size: int = 200 * MIB) -> Fault:
    """200 with a small gzip body that unpacks to `size` zeros, rounded up to whole MiB."""
    return reply_fault(
        "gzip bomb",
        lambda _reply: Reply(200, (("Content-Encoding", "gzip"),), body=Content.of(_bomb(-(-size // MIB)))),
    )


@cache
def _bomb(mib: int) -> bytes:
    zeros = bytes(MIB)
    packer = zlib.compressobj(level=9, wbits=-15)
    block = packer.compress(zeros) + packer.flush(
        zlib.Z_FULL_FLUSH
    )  # complete in itself, so it can be repeated
    crc = 0
    for _ in range(mib):
        crc = zlib.crc32(zeros, crc)
    trailer = crc.to_bytes(4, "little") + (mib * MIB % 2**32).to_bytes(4, "little")
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block * mib + packer.flush() + trailer
