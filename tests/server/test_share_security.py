"""What the shared endpoints must not do for strangers, and what they must not open."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelfetch.errors import UsageError
from modelfetch.server.api_table import ENDPOINTS, Endpoint
from modelfetch.server.connection_timeouts import Connection
from modelfetch.server.guard import MAX_HEAD_FIELDS, Request, SharedPaths, judge
from modelfetch.server.listen_address import Address, is_host, own_names
from modelfetch.server.serve_options import Options, checked_hosts
from modelfetch.server.share_limits import ShareLimits
from tests.patience import IN_TIME
from tests.server.running import TOKEN, Answer, until
from tests.server.sharing import (
    LARGE,
    MIB,
    Sharing,
    content,
    open_descriptors,
    read_response,
    sharing_server,
)

DATA = content(1000)
D = "0" * 64


@pytest.fixture(scope="module")
def digest(sharing: Sharing) -> str:
    """A blob of the shared server; beside it lies what must stay there."""
    digest = sharing.put(DATA)
    (sharing.cache / "secret").write_text("secret")
    return digest


# Paths

TRAVERSAL = [
    "/blobs/sha256/../../secret",
    "/blobs/sha256/%2e%2e/%2e%2e/secret",
    "/blobs/sha256/..%2f..%2fsecret",
    "/blobs/sha256/%2e%2e%2f%2e%2e%2fsecret",
    "/blobs/sha256/..%5c..%5csecret",
    "/blobs/sha256/%252e%252e%252fsecret",
    "/blobs/sha256/..%c0%af..%c0%afsecret",
    "/blobs/sha256//../../../secret",
    "/blobs/../secret",
    "/blobs/%2e%2e/secret",
    "//secret",
    "/blobs/sha256/%2fetc%2fpasswd",
    "/blobs/sha256//etc/passwd",
    "/blobs/sha256/C:%5cWindows%5cwin.ini",
    "/blobs/sha256/~root",
]


@pytest.mark.quick(every=4)
@pytest.mark.parametrize("target", TRAVERSAL)
def test_no_path_leads_out_of_the_blobs(sharing: Sharing, digest: str, target: str) -> None:
    answer = sharing.raw(sharing.head(target, "Connection: close"))
    assert int(answer.split()[1]) in {400, 401, 404}
    assert b"secret" not in answer
    assert b"root:" not in answer


VARIANTS: dict[str, Callable[[str], str]] = {
    "upper case": lambda d: d.upper(),
    "longer": lambda d: d + "0",
    "shorter": lambda d: d[:-1],
    "a NUL after it": lambda d: d + "%00",
    "a NUL in it": lambda d: d[:32] + "%00" + d[33:],
    "a line feed after it": lambda d: d + "%0a",
    "a space after it": lambda d: d + "%20",
    "a slash after it": lambda d: d + "/",
    "an encoded slash in it": lambda d: d[:2] + "%2f" + d[2:],
    "its directory": lambda d: d[:2] + "/" + d,
    "an algorithm before it": lambda d: "sha256:" + d,
    "a parameter after it": lambda d: d + ";x=1",
    "a dot before it": lambda d: "./" + d,
    "other digits": lambda d: "%D9%A0" * 64,
    "a suffix": lambda d: d + ".car",
    "nothing": lambda d: "",
    "ten thousand characters": lambda d: "a" * 10_000,
}


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("variant", VARIANTS)
def test_only_the_digest_itself_names_a_blob(sharing: Sharing, digest: str, variant: str) -> None:
    target = f"/blobs/sha256/{VARIANTS[variant](digest)}"
    assert sharing.status(target) in {401, 404}
    assert sharing.status(f"/blobs/sha256/{digest}") == 200


@pytest.mark.parametrize(
    "path", ["/blobs", "/blobs/", "/blobs/sha256", "/blobs/sha256/", "/blobs/sha256/00", "/blobs/sha512/" + D]
)
def test_nothing_is_listed(sharing: Sharing, digest: str, path: str) -> None:
    answer = sharing.get(path)
    assert answer.status in {401, 404}
    assert digest.encode() not in answer.body


def test_a_query_changes_nothing(sharing: Sharing, digest: str) -> None:
    answer = sharing.get(f"/blobs/sha256/{digest}?token=x&path=/etc/passwd")
    assert (answer.status, answer.body) == (200, DATA)


# Nobody learns what is here and not shared


def plant(sharing: Sharing, kind: str, tmp_path: Path) -> str:
    """Put something that is not to be shared where the blob of a digest would be."""
    wanted = f"{kind} {tmp_path}".encode()
    name = hashlib.sha256(wanted).hexdigest()
    path = sharing.blob(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "wrong bytes":
        path.write_bytes(b"wrong")
    elif kind == "partial":
        (sharing.cache / "partial" / name).mkdir(parents=True)
        (sharing.cache / "partial" / name / "data").write_bytes(wanted)
    elif kind == "quarantine":
        entry = sharing.cache / "quarantine" / f"20261120T060000.000000Z-{name}"
        entry.mkdir(parents=True)
        (entry / "data").write_bytes(wanted)
    elif kind == "link":
        (tmp_path / "right").write_bytes(wanted)
        path.symlink_to(tmp_path / "right")
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "link in place of the directory":
        path.parent.rename(tmp_path / "moved") if path.parent.is_dir() else None
        path.parent.symlink_to(tmp_path)
        (tmp_path / name).write_bytes(wanted)
    return name


KINDS = [
    *("wrong bytes", "partial", "quarantine", "link", "link to a device", "pipe", "directory"),
    "link in place of the directory",
]


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_verified_is_answered_as_what_is_unknown(tmp_path: Path, kind: str, method: str) -> None:
    with sharing_server(tmp_path / "server") as sharing:
        planted = plant(sharing, kind, tmp_path)
        answers = [
            sharing.get(f"/blobs/sha256/{name}", {"Range": "bytes=0-1"}, method=method)
            for name in ("f" * 64, planted, "not-a-digest", planted)
        ]
    assert {answer.status for answer in answers} == {404}
    assert len({answer.body for answer in answers}) == 1
    heads = [{name: value for name, value in each.headers.items() if name != "date"} for each in answers]
    assert all(head == heads[0] for head in heads)


def test_a_blob_that_was_changed_is_not_sent(tmp_path: Path) -> None:
    with sharing_server(tmp_path) as sharing:
        digest = sharing.put(DATA)
        assert sharing.get_blob(digest).body == DATA
        sharing.put(DATA[::-1], digest)
        assert sharing.get_blob(digest).status == 404
        sharing.put(DATA)
        assert sharing.get_blob(digest).body == DATA


@pytest.mark.slow
def test_a_blob_that_is_cut_while_it_is_sent_does_not_end_as_if_it_were_complete(tmp_path: Path) -> None:
    with sharing_server(tmp_path) as sharing:
        digest = sharing.put(content(32 * MIB))
        with sharing.connect(buffer=4096) as to:
            to.sendall(sharing.head(f"/blobs/sha256/{digest}", "Connection: close"))
            got = len(to.recv(1000))
            os.truncate(sharing.blob(digest), 16 * MIB)
            with contextlib.suppress(ConnectionError):
                while piece := to.recv(MIB):
                    got += len(piece)
        assert got < 32 * MIB
        assert sharing.get_blob(digest).status == 404


# The API of the panel stays closed


def own_path(endpoint: Endpoint) -> str:
    return re.sub(r"\{[^}]*\}", "x", endpoint.path)


@pytest.mark.quick(every=4)
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_every_other_request_needs_the_token(sharing: Sharing, endpoint: Endpoint) -> None:
    document: dict[str, object] | None = {} if endpoint.body is not None else None
    answer = sharing.served.ask(endpoint.method, own_path(endpoint), document, token=None)
    assert (answer.status, answer.code) == (401, "bad_token")


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    "target",
    [
        *("/blobs/sha256/../../v1/jobs", "/blobs/sha256/%2e%2e/%2e%2e/v1/jobs", "//v1/jobs", "/v1/jobs/"),
        *("/v1/jobs%00", "/v1/../blobs/sha256/x", "/V1/jobs", "/v1/blobs/sha256/" + D, "/.%2fv1/jobs"),
    ],
)
def test_no_spelling_of_a_path_opens_the_api(sharing: Sharing, target: str) -> None:
    assert sharing.status(target) in {401, 404}


OWN = [re.compile(r"^/v1/models/(?P<name>.*)$"), re.compile(r"^/metrics$")]
GENERAL = re.compile(r"^/(?P<repo>.*)/resolve/(?P<rev>[^/]+)/(?P<path>.*)$")
ADDRESS = Address("127.0.0.1", "127.0.0.1", 8765)


def request(path: str, method: str = "GET", *fields: tuple[str, str]) -> Request:
    return Request(method, path, [("host", "127.0.0.1:8765"), *fields])


def test_a_general_pattern_opens_no_path_of_the_api() -> None:
    shared = SharedPaths([GENERAL], OWN)
    assert judge(request("/org/repo/resolve/main/x"), ADDRESS, TOKEN, shared) is None
    refusal = judge(request("/v1/models/org/resolve/main/x"), ADDRESS, TOKEN, shared)
    assert refusal is not None
    assert refusal.status == 401


def test_without_sharing_no_path_is_shared() -> None:
    refusal = judge(request(f"/blobs/sha256/{D}"), ADDRESS, TOKEN)
    assert refusal is not None
    assert refusal.status == 401


# Methods and bodies


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("name", ["known", "unknown"])
def test_shared_paths_can_only_be_read(sharing: Sharing, digest: str, method: str, name: str) -> None:
    answer = sharing.get(f"/blobs/sha256/{digest if name == 'known' else D}", method=method)
    assert (answer.status, answer.code) == (405, "bad_method")
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("token", [TOKEN, "wrong"])
def test_no_token_allows_more(sharing: Sharing, digest: str, token: str) -> None:
    answer = sharing.served.ask("DELETE", f"/blobs/sha256/{digest}", token=token)
    assert answer.status == 405
    assert sharing.blob(digest).exists()


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
@pytest.mark.parametrize("body", [b"x", b"{}", b"x" * 100_000])
def test_a_body_is_refused(sharing: Sharing, digest: str, body: bytes, kind: str) -> None:
    answer = sharing.get(f"/blobs/sha256/{digest}", {"Content-Type": kind}, body=body)
    assert (answer.status, answer.code) == (400, "bad_request")


def test_a_chunked_body_is_refused_and_its_content_is_no_request(sharing: Sharing, digest: str) -> None:
    head = sharing.head(f"/blobs/sha256/{digest}", "Transfer-Encoding: chunked")
    inner = sharing.head("/v1/jobs", f"Authorization: Bearer {TOKEN}")
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner)
    answer = sharing.raw(head + body)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("Content-Length: -1",),
        ("Content-Length: 1e3",),
        ("Transfer-Encoding : chunked",),
    ],
)
def test_an_ambiguous_length_smuggles_no_request(
    sharing: Sharing, digest: str, fields: tuple[str, ...]
) -> None:
    inner = sharing.head("/v1/jobs", f"Authorization: Bearer {TOKEN}", "Connection: close")
    answer = sharing.raw(sharing.head(f"/blobs/sha256/{digest}", *fields) + b"0\r\n\r\n" + inner)
    assert answer.startswith(b"HTTP/1.1 4")
    assert b'"jobs"' not in answer


def test_a_body_that_never_comes_holds_no_slot(sharing: Sharing, digest: str) -> None:
    with sharing.connect() as to:
        to.sendall(sharing.head(f"/blobs/sha256/{digest}", "Content-Length: 60000"))
        assert read_response(to)[0] == 400
        assert to.recv(1) == b""  # closed
    assert sharing.share_state.counters.snapshot()["active"] == 0


# Host and origin


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "localhost", "127.0.0.1", "127.0.0.1:1", "", "a, b"]
)
def test_a_foreign_host_is_refused(sharing: Sharing, digest: str, host: str) -> None:
    answer = sharing.get_blob(digest, Host=host.format(port=sharing.served.port))
    assert (answer.status, answer.code) == (421, "wrong_host")
    assert "--allow-host" in answer.document["error"]["hint"]


def test_a_foreign_forwarded_host_is_refused(sharing: Sharing, digest: str) -> None:
    assert sharing.get_blob(digest, X_Forwarded_Host="evil.example").status == 421


@pytest.mark.parametrize("target", ["http://evil.example/blobs/sha256/" + D, "http://127.0.0.1/", "*"])
def test_the_server_is_no_proxy(sharing: Sharing, target: str) -> None:
    assert sharing.status(target) == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"},
    ],
)
def test_a_page_of_another_origin_is_refused(sharing: Sharing, digest: str, headers: dict[str, str]) -> None:
    answer = sharing.get_blob(digest, **headers)
    assert (answer.status, answer.code) == (403, "foreign_origin")


def test_there_are_no_cors_headers(sharing: Sharing, digest: str) -> None:
    headers = sharing.get_blob(digest).headers
    assert not [name for name in headers if name.startswith("access-control")]
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_a_name_that_is_allowed_is_accepted_and_no_other(tmp_path: Path) -> None:
    with sharing_server(tmp_path, options=Options(allow_hosts=("models.lan", "proxy.lan:80"))) as sharing:
        digest, port = sharing.put(DATA), sharing.served.port
        for host, status in {
            f"models.lan:{port}": 200,
            f"MODELS.lan:{port}": 200,
            "proxy.lan:80": 200,
            "models.lan": 421,
            "models.lan:80": 421,
            f"proxy.lan:{port}": 421,
            f"evil.models.lan:{port}": 421,
            f"models.lan.evil.example:{port}": 421,
        }.items():
            assert sharing.get_blob(digest, Host=host).status == status, host
        # The names are those of the whole server, whose API needs the token under them, too.
        assert sharing.get("/v1/jobs", {"Host": f"models.lan:{port}"}).status == 401


@pytest.mark.parametrize(
    "name",
    ["", "*", "a b", "http://a", "a/b", "a:b", "user@a", "a,b", "-a", "a:", "[::1", "\u0430.lan", "a\n"],
)
def test_what_is_no_host_name_cannot_be_allowed(name: str) -> None:
    assert not is_host(name)
    with pytest.raises(UsageError, match="--allow-host"):
        checked_hosts(Options(allow_hosts=(name,)))


@pytest.mark.parametrize("name", ["a", "gpu-box.lan", "192.0.2.7", "[2001:db8::1]:80", "models.lan:8765"])
def test_host_names_can_be_allowed(name: str) -> None:
    assert checked_hosts(Options(allow_hosts=(name.upper(),))) == (name,)


def test_the_own_names_are_the_one_of_mdns_and_the_full_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.node", lambda: "GPU-Box")
    monkeypatch.setattr("socket.getfqdn", lambda: "gpu-box.example.org")
    assert own_names() == ("gpu-box.local", "gpu-box.example.org")
    address = Address("0.0.0.0", "0.0.0.0", 8765, names=own_names())
    assert address.allows("gpu-box.local:8765")
    assert address.allows("gpu-box.example.org:8765")
    assert not address.allows("gpu-box.evil.example:8765")


def test_a_name_server_that_does_not_answer_delays_the_start_by_a_second_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = threading.Event()
    monkeypatch.setattr("platform.node", lambda: "gpu-box")
    monkeypatch.setattr("modelfetch.server.listen_address.FULL_NAME_SECONDS", 0.01)
    monkeypatch.setattr("socket.getfqdn", lambda: "late.example.org" if held.wait(IN_TIME) else "")
    assert own_names() == ("gpu-box.local",)
    held.set()


# Tokens


def test_a_token_that_is_sent_is_no_guess_and_is_not_compared(tmp_path: Path) -> None:
    """Clients of Hugging Face send their own token with every request."""
    with sharing_server(tmp_path) as sharing:
        digest = sharing.put(DATA)
        guard = sharing.served._server.config.loaded_app
        for _ in range(20):
            assert sharing.get_blob(digest, Authorization="Bearer hf_wrong").status == 200
        assert guard._guesses._count == 0
        until(lambda: not sharing.served._server.server_state.connections, "the end of these connections")
        with sharing.connect() as to:
            to.sendall(sharing.head(f"/blobs/sha256/{digest}", f"Authorization: Bearer {TOKEN}"))
            assert read_response(to) == (200, DATA)
            [connection] = sharing.served._server.server_state.connections
            assert isinstance(connection, Connection)
            assert not connection.is_authenticated


# Floods


@pytest.mark.parametrize("count", [2, 100, 2000])
def test_many_ranges_cost_no_more_than_the_file(sharing: Sharing, digest: str, count: int) -> None:
    answer = sharing.get_blob(digest, Range="bytes=" + ",".join(["0-"] * count))
    assert (answer.status, answer.body) == (200, DATA)


def test_several_range_fields_are_several_ranges(sharing: Sharing, digest: str) -> None:
    head = sharing.head(
        f"/blobs/sha256/{digest}", "Range: bytes=0-1", "Range: bytes=3-4", "Connection: close"
    )
    assert sharing.raw(head).partition(b"\r\n\r\n")[2] == DATA


@pytest.mark.parametrize(
    "fields",
    [
        ["Range: bytes=0-1," + "0-1," * 5000],
        ["If-None-Match: " + '"x",' * 5000],
        [f"X-{n}: x" for n in range(MAX_HEAD_FIELDS)],
    ],
)
def test_a_head_that_is_too_large_is_refused(sharing: Sharing, digest: str, fields: list[str]) -> None:
    answer = sharing.raw(sharing.head(f"/blobs/sha256/{digest}", *fields, "Connection: close"))
    assert int(answer.split()[1]) in {400, 431}


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match", "If-Range", "Range"])
def test_headers_of_any_bytes_are_no_bug(sharing: Sharing, digest: str, header: str) -> None:
    for value in ('"' * 8000, "\xff" * 1000, 'W/"' + "a" * 8000, "bytes=" + "-" * 8000, "\t" * 100):
        fields = (f"{header}: {value}", "Range: bytes=0-0", "Connection: close")
        assert int(sharing.raw(sharing.head(f"/blobs/sha256/{digest}", *fields)).split()[1]) < 500


def test_an_answer_without_a_body_is_short(sharing: Sharing) -> None:
    """A short request must not cause a long answer: HEAD, 304, 404, 416."""
    digest = sharing.put(content(LARGE))
    fields = {
        "HEAD": ("HEAD", digest, "Accept: */*"),
        "304": ("GET", digest, f'If-None-Match: "{digest}"'),
        "404": ("GET", D, "Accept: */*"),
        "416": ("GET", digest, f"Range: bytes={LARGE}-"),
        "a byte": ("GET", digest, "Range: bytes=0-0"),
    }
    for method, name, field in fields.values():
        path = f"/blobs/sha256/{name}"
        assert len(sharing.raw(sharing.head(path, field, "Connection: close", method=method))) < 1200


class Hasty(Connection):
    """Gives clients little time to send."""

    head_seconds = 0.3


def test_a_head_that_drips_is_cut_off(tmp_path: Path) -> None:
    with sharing_server(tmp_path, connection=Hasty) as sharing, sharing.connect() as to:
        to.sendall(b"GET /blobs/sha256/")
        with contextlib.suppress(ConnectionError):
            assert to.recv(1) == b""


@pytest.mark.slow
def test_idle_connections_do_not_end_a_transfer(tmp_path: Path) -> None:
    """Beyond a number of connections without a token the oldest are closed, but not those that transfer."""
    with sharing_server(tmp_path) as sharing, contextlib.ExitStack() as idle:
        data = content(32 * MIB)
        digest = sharing.put(data)
        with sharing.connect() as to:
            to.sendall(sharing.head(f"/blobs/sha256/{digest}", "Connection: close"))
            got = bytearray(to.recv(1000))
            for _ in range(300):
                idle.enter_context(socket.create_connection(("127.0.0.1", sharing.served.port), IN_TIME))
            while piece := to.recv(MIB):
                got += piece
        assert got.partition(b"\r\n\r\n")[2] == data


def test_an_ended_transfer_counts_as_a_connection_without_a_token_again(tmp_path: Path) -> None:
    with sharing_server(tmp_path) as sharing, sharing.connect() as to:
        digest = sharing.put(content(LARGE))
        to.sendall(sharing.head(f"/blobs/sha256/{digest}"))
        assert read_response(to)[0] == 200
        limits = sharing.served._server._login_limits
        until(lambda: len(limits._unauthenticated) == 1, "the connection")


# Connections that are lost


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("share-send")]


@pytest.mark.slow
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_lost_connections_leave_no_descriptor_and_no_running_thread(tmp_path: Path, reset: bool) -> None:
    with sharing_server(tmp_path, ShareLimits(transfers=40)) as sharing:
        digest = sharing.put(content(16 * MIB))
        assert sharing.get_blob(digest, Range="bytes=0-9").status == 206
        until(lambda: not sharing.served._server.server_state.connections, "the end of that connection")
        before = open_descriptors("socket:")
        for _ in range(3):
            held = [sharing.connect(buffer=4096) for _ in range(15)]
            for to in held:
                to.sendall(sharing.head(f"/blobs/sha256/{digest}"))
                to.recv(10)
            until(lambda: sharing.share_state.counters.snapshot()["active"] == 15, "the transfers")
            for to in held:
                if reset:
                    to.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                to.close()
            until(lambda: sharing.share_state.counters.snapshot()["active"] == 0, "their end")
        until(lambda: not sharing.served._server.server_state.connections, "the end of the connections")
        until(lambda: open_descriptors("socket:") <= before, "all sockets are closed")
        until(lambda: open_descriptors(digest) == 0, "all files are closed")
        assert len(threads()) <= 40
        assert sharing.get_blob(digest).status == 200


def test_after_a_lost_connection_the_next_one_gets_only_its_own_bytes(tmp_path: Path) -> None:
    """The number of a closed socket is given to the next connection: nothing may be written to it."""
    with sharing_server(tmp_path) as sharing:
        large, small = sharing.put(content(16 * MIB)), sharing.put(DATA)
        for _ in range(10):
            to = sharing.connect(buffer=4096)
            to.sendall(sharing.head(f"/blobs/sha256/{large}"))
            to.recv(10)
            to.close()
            answer: Answer = sharing.get_blob(small)
            assert (answer.status, answer.body) == (200, DATA)


def test_a_request_that_is_cut_off_before_its_answer_is_no_bug(
    sharing: Sharing, digest: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        with sharing.connect() as to:
            to.sendall(sharing.head(f"/blobs/sha256/{digest}"))
    until(lambda: sharing.share_state.counters.snapshot()["active"] == 0, "the end of all answers")
    assert sharing.get_blob(digest).status == 200
    assert caplog.text == ""


@pytest.fixture(autouse=True)
def _no_bug(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert "bug" not in caplog.text
