"""``GET /blobs/sha256/<hex>``: what a client gets."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import http.client
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelfetch.server import file_response, socket_transfer
from modelfetch.server.connection_timeouts import Connection
from modelfetch.server.file_response import SMALL_BYTES
from modelfetch.server.runner import ServerWorkspace
from modelfetch.server.serve_options import Options
from modelfetch.server.share_limits import ShareLimits
from modelfetch.server.socket_transfer import SocketTransfer
from modelfetch.store.chunk_maps import one_chunk_cid
from tests.descriptors import no_descriptors
from tests.origin.certificates import Authority
from tests.patience import IN_TIME
from tests.server.running import Served, until
from tests.server.sharing import (
    LARGE,
    MIB,
    Sharing,
    content,
    open_descriptors,
    read_response,
    read_responses,
    sharing_server,
)
from tests.share.home import Home, model

SIZES = [0, 1, SMALL_BYTES, SMALL_BYTES + 1, LARGE]


@pytest.mark.parametrize("size", SIZES)
def test_a_blob_is_sent_without_a_token(sharing: Sharing, size: int) -> None:
    data = content(size)
    digest = sharing.put(data)
    answer = sharing.get_blob(digest)
    assert (answer.status, answer.body == data) == (200, True)
    assert answer.headers["content-length"] == str(size)


def test_the_headers_say_that_it_never_changes(sharing: Sharing) -> None:
    digest = sharing.put(content(100))
    headers = sharing.get_blob(digest).headers
    assert headers["etag"] == f'"{digest}"'
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"
    encoded = headers["repr-digest"].removeprefix("sha-256=:").removesuffix(":")
    assert base64.b64decode(encoded).hex() == digest


@pytest.mark.parametrize("size", SIZES)
def test_head_has_the_same_headers_and_no_body(sharing: Sharing, size: int) -> None:
    digest = sharing.put(content(size))
    get = sharing.get_blob(digest)
    head = sharing.get(f"/blobs/sha256/{digest}", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    ignored = {"date": ""}
    assert {**head.headers, **ignored} == {**get.headers, **ignored}


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("range_", "start", "end"),
    [
        *(("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), (f"bytes={MIB}-", MIB, LARGE)),
        *(("bytes=-1", LARGE - 1, LARGE), (f"bytes=-{2 * MIB}", LARGE - 2 * MIB, LARGE)),
        *((f"bytes=17-{LARGE * 2}", 17, LARGE), ("bytes=1-2097152", 1, 2097153)),
    ],
)
def test_a_range_is_sent(sharing: Sharing, range_: str, start: int, end: int) -> None:
    data = content(LARGE)
    digest = sharing.put(data)
    answer = sharing.get_blob(digest, Range=range_)
    assert (answer.status, answer.body == data[start:end]) == (206, True)
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{LARGE}"
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers["etag"] == f'"{digest}"'


def test_a_range_outside_of_the_file_is_416_with_its_size(sharing: Sharing) -> None:
    digest = sharing.put(content(100))
    answer = sharing.get_blob(digest, Range="bytes=100-")
    assert (answer.status, answer.code) == (416, "bad_range")
    assert answer.headers["content-range"] == "bytes */100"


def test_a_client_that_has_the_file_gets_no_body(sharing: Sharing) -> None:
    digest = sharing.put(content(100))
    answer = sharing.get_blob(digest, If_None_Match=f'"{digest}"')
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["etag"] == f'"{digest}"'
    assert "content-length" not in answer.headers


def test_if_range_and_if_match(sharing: Sharing) -> None:
    digest = sharing.put(content(100))
    assert sharing.get_blob(digest, If_Range=f'"{digest}"', Range="bytes=0-4").status == 206
    assert sharing.get_blob(digest, If_Range='"other"', Range="bytes=0-4").status == 200
    answer = sharing.get_blob(digest, If_Match='"other"')
    assert (answer.status, answer.code) == (412, "precondition_failed")


def test_one_connection_serves_many_requests(sharing: Sharing) -> None:
    """The kernel sends bytes that uvicorn does not see; the connection must work afterwards."""
    data = content(LARGE)
    digest = sharing.put(data)
    with sharing.connect() as to:
        for _ in range(5):
            to.sendall(sharing.head(f"/blobs/sha256/{digest}"))
            assert read_response(to) == (200, data)
            to.sendall(sharing.head(f"/blobs/sha256/{digest}", "Range: bytes=7-1000006"))
            assert read_response(to) == (206, data[7:1000007])
            to.sendall(sharing.head(f"/blobs/sha256/{'0' * 64}"))
            assert read_response(to)[0] == 404


def test_requests_may_be_sent_before_their_answers_are_read(sharing: Sharing) -> None:
    data = content(LARGE)
    digest = sharing.put(data)
    heads = [sharing.head(f"/blobs/sha256/{digest}", f"Range: bytes={n}-{n + MIB}") for n in range(6)]
    with sharing.connect() as to:
        to.sendall(b"".join(heads))
        for n, answer in zip(range(6), read_responses(to), strict=False):
            assert answer == (206, data[n : n + MIB + 1])


def test_close_and_http_1_0_end_the_connection(sharing: Sharing) -> None:
    data = content(LARGE)
    digest = sharing.put(data)
    answer = sharing.raw(sharing.head(f"/blobs/sha256/{digest}", "Connection: close"))
    assert answer.partition(b"\r\n\r\n")[2] == data
    old = f"GET /blobs/sha256/{digest} HTTP/1.0\r\nHost: 127.0.0.1:{sharing.served.port}\r\n\r\n"
    assert sharing.raw(old.encode()).partition(b"\r\n\r\n")[2] == data


def test_where_the_file_system_has_no_sendfile_it_is_copied(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr("os.sendfile", refuse)
    data = content(LARGE)
    digest = sharing.put(data)
    assert sharing.get_blob(digest).body == data


def test_where_the_system_has_no_sendfile_it_is_read_in_blocks(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelfetch.server.connection_timeouts.IS_SUPPORTED", False)
    monkeypatch.setattr(SocketTransfer, "run", lambda _: pytest.fail("the kernel was asked"))
    data = content(LARGE)
    digest = sharing.put(data)
    assert sharing.get_blob(digest).body == data
    assert sharing.get_blob(digest, Range="bytes=-1000000").body == data[-1000000:]


def test_the_kernel_sends_large_files(sharing: Sharing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_response, "read_up_to", lambda *_: pytest.fail("it was read"))
    data = content(LARGE)
    assert sharing.get_blob(sharing.put(data)).body == data


def test_over_tls_a_blob_arrives_whole(tmp_path: Path) -> None:
    authority = Authority()
    cert, key = authority.issue(tmp_path)
    context = authority.client()
    with sharing_server(tmp_path, options=Options(cert=cert, key=key)) as sharing:
        data = content(LARGE)
        path = f"/blobs/sha256/{sharing.put(data)}"
        client = http.client.HTTPSConnection(
            "localhost", sharing.served.port, timeout=IN_TIME, context=context
        )
        with contextlib.closing(client):
            for _ in range(3):
                client.request("GET", path)
                response = client.getresponse()
                assert (response.status, response.read() == data) == (200, True)
            client.request("GET", path, headers={"Range": "bytes=-1000000"})
            assert client.getresponse().read() == data[-1000000:]
            client.request("GET", "/v1/jobs")
            assert client.getresponse().status == 401


def test_a_server_without_sharing_has_no_such_path(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        sharing = Sharing(served, tmp_path)
        digest = sharing.put(content(100))
        assert sharing.get_blob(digest).status == 401
        assert served.ask("GET", f"/blobs/sha256/{digest}").status == 404


@pytest.mark.slow
def test_many_first_requests_for_a_blob_are_all_answered(tmp_path: Path) -> None:
    """It is hashed once, and none of them looks between two states."""
    with sharing_server(tmp_path) as sharing, ThreadPoolExecutor(8) as pool:
        for n in range(10):
            digest = sharing.put(content(SMALL_BYTES, n))
            assert {answer.status for answer in pool.map(sharing.get_blob, [digest] * 8)} == {200}


def test_what_was_sent_is_counted(tmp_path: Path) -> None:
    with sharing_server(tmp_path) as sharing:
        data = content(LARGE)
        digest = sharing.put(data)
        sharing.get_blob(digest)
        sharing.get_blob(digest, Range="bytes=0-9")
        sharing.get(f"/blobs/sha256/{digest}", method="HEAD")
        sharing.get_blob("0" * 64)
        until(lambda: sharing.share_state.counters.snapshot()["active"] == 0)
        counts = sharing.share_state.counters.snapshot()
    assert (counts["requests"], counts["bytes"], counts["refused"]) == (3, LARGE + 10, 0)
    assert counts["endpoints"] == {"blobs": {"requests": 3, "bytes": LARGE + 10}}
    [client] = counts["clients"]
    assert (client["client"], client["requests"], client["bytes"]) == ("127.0.0.1", 3, LARGE + 10)


def test_the_rate_limits_all_transfers_together(tmp_path: Path) -> None:
    with sharing_server(tmp_path, ShareLimits(rate=8 * MIB)) as sharing:
        data = content(MIB)
        digest = sharing.put(data)
        began = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(sharing.get_blob, [digest] * 4))
        took = time.monotonic() - began
    assert [answer.body == data for answer in answers] == [True] * 4
    assert took > 0.2  # 4 MiB at 8 MiB/s take 0.5 s; a quarter of a second may be caught up with


@pytest.mark.slow
def test_without_a_free_slot_the_answer_is_503(tmp_path: Path) -> None:
    with sharing_server(tmp_path, ShareLimits(transfers=4)) as sharing:
        digest = sharing.put(content(16 * MIB))
        held = [sharing.connect(buffer=4096) for _ in range(2)]
        try:
            for to in held:
                to.sendall(sharing.head(f"/blobs/sha256/{digest}"))
                assert to.recv(12) == b"HTTP/1.1 200"
            answer = sharing.get_blob(digest)  # two of four slots are the most for one address
            assert (answer.status, answer.code) == (503, "too_many_transfers")
            assert answer.headers["retry-after"] == "5"
            assert sharing.share_state.counters.snapshot()["refused"] == 1
            assert sharing.get(f"/blobs/sha256/{digest}", method="HEAD").status == 200  # needs no slot
        finally:
            for to in held:
                to.close()
        until(lambda: sharing.get_blob(digest, Range="bytes=0-9").status == 206, "a free slot")


@pytest.mark.slow
def test_the_server_stops_in_time_with_a_transfer_under_way(tmp_path: Path) -> None:
    with sharing_server(tmp_path) as sharing:
        digest = sharing.put(content(16 * MIB))
        to = sharing.connect(buffer=4096)
        to.sendall(sharing.head(f"/blobs/sha256/{digest}"))
        assert to.recv(12) == b"HTTP/1.1 200"
    to.close()


class Impatient(Connection):
    """Gives clients little time to read."""

    read_seconds = 0.5


@pytest.mark.slow
def test_a_client_that_reads_nothing_is_disconnected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_transfer, "POLL_MILLISECONDS", 50)
    with sharing_server(tmp_path, connection=Impatient) as sharing:
        digest = sharing.put(content(16 * MIB))
        with sharing.connect(buffer=4096) as to:
            to.sendall(sharing.head(f"/blobs/sha256/{digest}"))
            until(lambda: sharing.share_state.counters.snapshot()["requests"] == 1, "the transfer")
            until(lambda: sharing.share_state.counters.snapshot()["active"] == 0, "its end")
            until(lambda: not sharing.served._server.server_state.connections, "the end of the connection")


def test_a_client_that_reads_too_little_is_disconnected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_transfer, "POLL_MILLISECONDS", 50)
    with sharing_server(tmp_path, connection=Impatient) as sharing:
        digest = sharing.put(content(16 * MIB))
        with sharing.connect(buffer=4096) as to:
            to.sendall(sharing.head(f"/blobs/sha256/{digest}"))
            until(lambda: sharing.share_state.counters.snapshot()["requests"] == 1, "the transfer")
            got = 0
            deadline = time.monotonic() + IN_TIME
            while sharing.served._server.server_state.connections:
                assert time.monotonic() < deadline
                try:
                    got += len(to.recv(2000))  # some 20 kB/s, which is a sixth of what is required here
                except ConnectionError:
                    break
                time.sleep(0.1)
        assert got < MIB


@pytest.mark.slow
def test_a_slow_client_that_reads_on_gets_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's buffer takes longer to empty by a third than the time limit, but the client reads."""
    got = bytearray()
    # Time passes as the client reads: if the machine stands still, so does the clock.
    monkeypatch.setattr(socket_transfer, "time", SimpleNamespace(monotonic=lambda: len(got) / 640_000))
    monkeypatch.setattr(socket_transfer, "POLL_MILLISECONDS", 50)
    with sharing_server(tmp_path, connection=Impatient) as sharing:
        data = content(8 * MIB)
        digest = sharing.put(data)
        with sharing.connect(buffer=65536) as to:
            to.sendall(sharing.head(f"/blobs/sha256/{digest}", "Connection: close"))
            while piece := to.recv(32768):
                got += piece
                if len(got) < 1.5 * MIB:
                    time.sleep(0.05)
        assert bytes(got).endswith(data[-1000:])
        assert len(got.partition(b"\r\n\r\n")[2]) == len(data)


def test_without_a_descriptor_for_the_socket_it_is_read_in_blocks(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("os.dup", refuse)
    data = content(LARGE)
    digest = sharing.put(data)
    assert sharing.get_blob(digest).body == data
    until(lambda: not open_descriptors(digest), "the file to be closed")
    assert not caplog.text


@pytest.mark.parametrize("path", ["/blobs/sha256/{digest}", "/ipfs/{cid}?format=raw"])
@pytest.mark.parametrize("is_hashed", [True, False])
def test_without_descriptors_a_file_is_not_said_to_be_missing(
    tmp_path: Path, path: str, is_hashed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A client may do without a file that is missing, or remember for a day that it is."""
    data = content(1000)
    digest = hashlib.sha256(data).hexdigest()
    home = Home(tmp_path)
    home.pin(model(contents={"a.bin": data}))
    workspace = ServerWorkspace({}, environ=home.environ, cwd=tmp_path)
    with sharing_server(tmp_path, engine=workspace) as sharing, sharing.connect() as to:
        sharing.put(data)
        target = sharing.head(path.format(digest=digest, cid=one_chunk_cid(digest).text))
        if is_hashed:
            to.sendall(target)
            assert read_response(to) == (200, data)
        to.sendall(sharing.head("/blobs/sha256/" + "0" * 64))
        assert read_response(to)[0] == 404  # all that is needed was loaded
        with no_descriptors():
            to.sendall(target)
            assert read_response(to)[0] == 500
        to.sendall(target)
        assert read_response(to) == (200, data)
    assert not caplog.text
