"""What protects a server on this machine from foreign pages, programs and people.

Each point of the list P01 to P52 that needs no browser has its tests here, named after it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine.events import (
    ErrorInfo,
    Event,
    FileStarted,
    Planned,
    PlannedFile,
    RetryScheduled,
    RunFinished,
    RunStarted,
)
from modelfetch.server import login_limits
from modelfetch.server.connection_timeouts import Connection
from modelfetch.server.error_responses import Refusal
from modelfetch.server.guard import HEADERS, MAX_BODY_BYTES, MAX_HEAD_FIELDS, Request, judge
from modelfetch.server.job_state import Order
from modelfetch.server.listen_address import Address
from tests.patience import HELD, IN_TIME
from tests.server.running import TOKEN, Answer, FakeEngine, Follower, Served, until

ORDER = {"operation": "model_download", "model": "m"}
API = ["/v1/jobs", "/v1/jobs/stream", "/v1/models", "/v1/status", "/metrics", "/api/metrics/downloads"]
SCRIPT = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all of these tests: starting and stopping one takes longer than most of them."""
    with pytest.MonkeyPatch.context() as patch, Served(tmp_path_factory.mktemp("served")) as server:
        # Wrong tokens are answered later each time; each of these tests is about one answer.
        patch.setattr(login_limits, "MAX_DELAY_SECONDS", 0.01)
        yield server


@pytest.fixture
def served(standing: Served) -> Iterator[Served]:
    """That server, without the jobs of the test before."""
    yield standing
    for job in standing.jobs.all():
        with contextlib.suppress(Refusal):  # it ended by itself
            standing.jobs.cancel(job.id)
    standing.jobs.clear()


def raw(served: Served, head: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send a request exactly as written; returns the status and everything received."""
    lines = f"{head.strip()}\nConnection: close\n\n".replace("\n", "\r\n")
    answer = b""
    with socket.create_connection(("127.0.0.1", served.port), IN_TIME) as to:
        # It need not listen to the end of what is too much.
        with contextlib.suppress(ConnectionError):
            to.sendall(lines.encode("latin-1") + body)
        with contextlib.suppress(ConnectionError):
            while piece := to.recv(65536):
                answer += piece
    return int(answer.split()[1]) if answer else 0, answer


def raw_get(served: Served, *fields: str, target: str = "/v1/jobs", version: str = "1.1") -> int:
    lines = [f"GET {target} HTTP/{version}", f"Authorization: Bearer {TOKEN}", *fields]
    return raw(served, "\n".join(lines))[0]


def with_headers(served: Served, method: str = "GET", path: str = "/v1/jobs", **headers: str) -> Answer:
    document = ORDER if method == "POST" else None
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return served.ask(method, path, document, headers=named)


# Bind


def test_p01_the_default_is_this_machine_only() -> None:
    assert Address("127.0.0.1", "127.0.0.1", 1).is_local
    assert Address("localhost", "::1", 1).is_local
    assert not Address("0.0.0.0", "0.0.0.0", 1).is_local
    assert not Address("gpu-box", "192.0.2.7", 1).is_local


# Host


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]", "LOCALHOST"])
def test_p05_loopback_names_are_accepted(served: Served, name: str) -> None:
    assert raw_get(served, f"Host: {name}:{served.port}") == 200


WRONG_HOSTS = {
    "p06 a name below a foreign one": "localhost.evil.example:{port}",
    "p06 ours as a user": "127.0.0.1:{port}@evil.example",
    "p06 a name that points here": "127.0.0.1.nip.example:{port}",
    "p06 another address": "192.0.2.7:{port}",
    "p06 this network": "0.0.0.0:{port}",
    "p06 another notation": "0x7f000001:{port}",
    "p06 in one number": "2130706433:{port}",
    "p06 mapped": "[::ffff:127.0.0.1]:{port}",
    "p06 none": ":{port}",
    "p11 a dot at the end": "localhost.:{port}",
    "p12 another port": "127.0.0.1:1",
    "p12 no port": "127.0.0.1",
    "p12 zero before it": "127.0.0.1:0{port}",
    "p12 two ports": "127.0.0.1:{port}:{port}",
}


@pytest.mark.parametrize("host", WRONG_HOSTS.values(), ids=WRONG_HOSTS)
def test_p06_p11_p12_other_names_are_refused(served: Served, host: str) -> None:
    assert raw_get(served, f"Host: {host.format(port=served.port)}") == 421


def test_p07_a_request_without_host_is_refused(served: Served) -> None:
    assert raw_get(served, version="1.0") == 421
    assert raw_get(served, version="1.1") == 400


def test_p08_a_second_host_is_refused(served: Served) -> None:
    ours = f"Host: 127.0.0.1:{served.port}"
    assert raw_get(served, ours, ours, version="1.0") in (400, 421)
    assert raw_get(served, ours, "Host: evil.example") in (400, 421)


def test_p08_a_second_host_is_refused_by_the_guard_too() -> None:
    address = Address("127.0.0.1", "127.0.0.1", 80)
    fields = [("host", "127.0.0.1"), ("host", "127.0.0.1"), ("authorization", f"Bearer {TOKEN}")]
    assert judge(Request("GET", "/v1/jobs", fields[1:]), address, TOKEN) is None
    refusal = judge(Request("GET", "/v1/jobs", fields), address, TOKEN)
    assert refusal is not None
    assert refusal.code == "wrong_host"


@pytest.mark.parametrize("target", ["http://evil.example/v1/jobs", "http://127.0.0.1:{port}/v1/jobs", "*"])
def test_p09_a_target_for_a_proxy_is_refused(served: Served, target: str) -> None:
    host = f"Host: 127.0.0.1:{served.port}"
    assert raw_get(served, host, target=target.format(port=served.port)) == 421


@pytest.mark.parametrize("forwarded", ["evil.example", "evil.example, 127.0.0.1:{port}", ""])
def test_p10_a_foreign_forwarded_host_is_refused(served: Served, forwarded: str) -> None:
    answer = with_headers(served, X_Forwarded_Host=forwarded.format(port=served.port))
    assert (answer.status, answer.code) == (421, "wrong_host")


def test_p10_a_forwarded_host_does_not_replace_the_host(served: Served) -> None:
    ours = f"127.0.0.1:{served.port}"
    assert raw_get(served, "Host: evil.example", f"X-Forwarded-Host: {ours}") == 421
    assert raw_get(served, f"Host: {ours}", f"X-Forwarded-Host: {ours}") == 200


def test_only_the_default_port_may_be_absent() -> None:
    assert Address("127.0.0.1", "127.0.0.1", 80).allows("127.0.0.1")
    assert Address("127.0.0.1", "127.0.0.1", 80).allows("[::1]")
    assert Address("127.0.0.1", "127.0.0.1", 443, tls=True).allows("localhost")
    assert not Address("127.0.0.1", "127.0.0.1", 443).allows("localhost")
    assert not Address("127.0.0.1", "127.0.0.1", 80).allows("127.0.0.1:")


def test_on_all_interfaces_any_ip_address_is_accepted_and_no_foreign_name() -> None:
    """Rebinding needs a name: an IP address cannot be rebound."""
    address = Address("0.0.0.0", "0.0.0.0", 8765)
    assert address.allows("192.0.2.7:8765")
    assert address.allows("[2001:db8::1]:8765")
    assert not address.allows("evil.example:8765")
    assert not address.allows("192.0.2.07:8765")
    assert not address.allows("[192.0.2.7]:8765")
    assert not address.allows("192.0.2.7:80")


def test_bound_to_a_name_that_name_is_accepted() -> None:
    address = Address("gpu-box.lan", "192.0.2.7", 8765)
    assert address.allows("GPU-box.lan:8765")
    assert address.allows("192.0.2.7:8765")
    assert not address.allows("gpu-box.lan.evil.example:8765")


# Token


@pytest.mark.parametrize("path", API)
def test_p15_p18_without_the_token_everything_is_refused(served: Served, path: str) -> None:
    answer = served.ask("GET", path, token=None)
    assert (answer.status, answer.code) == (401, "bad_token")


WRONG_TOKENS = {
    "none": "",
    "another": "Bearer another",
    "a part": f"Bearer {TOKEN[:-1]}",
    "more": f"Bearer {TOKEN}x",
    "other case": f"Bearer {TOKEN.upper()}",
    "no scheme": TOKEN,
    "other scheme": f"Basic {TOKEN}",
    "not ASCII": "Bearer \xe9",
}


@pytest.mark.parametrize("value", WRONG_TOKENS.values(), ids=WRONG_TOKENS)
def test_p14_p18_a_wrong_token_is_refused(served: Served, value: str) -> None:
    answer = served.ask("GET", "/v1/jobs", token=None, headers={"Authorization": value})
    assert answer.status == 401


def test_p15_a_second_token_is_refused(served: Served) -> None:
    fields = [f"Host: 127.0.0.1:{served.port}", "Authorization: Bearer other"]
    assert raw_get(served, *fields) == 401


@pytest.mark.parametrize("path", [f"/v1/jobs?token={TOKEN}", f"/v1/jobs?access_token={TOKEN}"])
def test_p16_a_token_in_the_url_is_ignored(served: Served, path: str) -> None:
    """URLs get into logs and into Referer."""
    assert served.ask("GET", path, token=None).status == 401
    assert served.ask("GET", path, token=None, headers={"Cookie": f"token={TOKEN}"}).status == 401


SPELLINGS = [
    "/%76%31/jobs",
    "/v1%2fjobs",
    "//v1/jobs",
    "/V1/jobs",
    "/static/../v1/jobs",
    "/static/%2e%2e/v1/jobs",
    "/v1/jobs/",
    "/./v1/jobs",
    "/v1/jobs;x",
    "/%2e/v1/jobs",
]


@pytest.mark.parametrize("target", SPELLINGS)
def test_p18_no_spelling_of_a_path_bypasses_the_token(served: Served, target: str) -> None:
    lines = [f"GET {target} HTTP/1.1", f"Host: 127.0.0.1:{served.port}"]
    status, answer = raw(served, "\n".join(lines))
    assert status in (401, 404)
    assert b'"jobs"' not in answer


def test_p17_the_token_is_in_no_file(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        served.until_over(served.submit())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


# Origin


def test_p19_no_origin_and_the_own_origin_are_accepted(served: Served) -> None:
    assert served.ask("POST", "/v1/jobs", ORDER).status in (200, 202)
    for host in ("127.0.0.1", "localhost"):
        origin = f"http://{host}:{served.port}"
        assert with_headers(served, "POST", Origin=origin).status in (200, 202)


FOREIGN = {
    "p20 null": "null",
    "p21 foreign": "https://evil.example",
    "p21 other port": "http://127.0.0.1:1",
    "p21 other scheme": "https://127.0.0.1:{port}",
    "p21 other name below": "http://127.0.0.1:{port}.evil.example",
    "p21 empty": "",
    "p21 no scheme": "127.0.0.1:{port}",
    "p21 two": "http://127.0.0.1:{port} https://evil.example",
}


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("origin", FOREIGN.values(), ids=FOREIGN)
def test_p20_p21_other_origins_are_refused(served: Served, origin: str, method: str) -> None:
    answer = with_headers(served, method, Origin=origin.format(port=served.port))
    assert (answer.status, answer.code) == (403, "foreign_origin")
    assert served.jobs.all() == []


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "same-origin, cross-site"])
@pytest.mark.parametrize("path", ["/v1/jobs", "/static/index.html", "/"])
def test_p22_cross_site_requests_are_refused(served: Served, site: str, path: str) -> None:
    assert with_headers(served, path=path, Sec_Fetch_Site=site).status == 403


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_p22_own_pages_and_the_address_bar_are_accepted(served: Served, site: str) -> None:
    assert with_headers(served, Sec_Fetch_Site=site).status == 200


NAVIGATION = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}


def test_p22_a_link_to_the_panel_may_be_followed_from_anywhere(served: Served) -> None:
    assert with_headers(served, path="/?install=whisper-base", **NAVIGATION).status == 200


@pytest.mark.parametrize(
    ("method", "path", "changed"),
    [
        ("GET", "/v1/jobs", {}),
        ("GET", "/static/index.html", {}),
        ("POST", "/", {}),
        ("GET", "/", {"Sec_Fetch_Dest": "iframe"}),
        ("GET", "/", {"Sec_Fetch_Mode": "no-cors"}),
    ],
)
def test_p22_nothing_but_a_link_to_the_panel(
    served: Served, method: str, path: str, changed: dict[str, str]
) -> None:
    assert with_headers(served, method, path, **NAVIGATION | changed).status == 403


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_p23_there_is_no_cors_header_ever(served: Served, method: str) -> None:
    for origin in (f"http://127.0.0.1:{served.port}", "https://evil.example"):
        answer = with_headers(served, method, Origin=origin, Access_Control_Request_Method="POST")
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


# Changes


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "text/plain; charset=application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "",
        "*/*",
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/clear", "/api/metrics/downloads/reset"])
def test_p24_to_p27_content_types_of_forms_are_refused(served: Served, kind: str, path: str) -> None:
    answer = served.ask("POST", path, body=json.dumps(ORDER).encode(), headers={"Content-Type": kind})
    assert (answer.status, answer.code) == (415, "not_json")
    assert served.jobs.all() == []


def test_p24_a_body_without_a_type_is_refused(served: Served) -> None:
    head = f"POST /v1/jobs HTTP/1.1\nHost: 127.0.0.1:{served.port}\nAuthorization: Bearer {TOKEN}\n"
    body = json.dumps(ORDER).encode()
    assert raw(served, f"{head}Content-Length: {len(body)}\n", body)[0] == 415
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert raw(served, f"{head}Transfer-Encoding: chunked\n", chunked)[0] == 415
    assert served.jobs.all() == []


def test_p24_a_json_body_may_have_a_charset(served: Served) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert served.ask("POST", "/v1/jobs", body=json.dumps(ORDER).encode(), headers=headers).status == 202


@pytest.mark.quick(every=2)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "TRACE"])
def test_p28_to_p30_other_methods_change_nothing(served: Served, method: str) -> None:
    job_id = served.submit()
    before = served.until_over(job_id)
    for path in (f"/v1/jobs/{job_id}/retry", "/v1/jobs/clear", "/api/metrics/downloads/reset"):
        assert served.ask(method, path).status in (404, 405)
    assert served.snapshot(job_id) == before
    assert len(served.jobs.all()) == 1


def test_p30_options_reveals_nothing(served: Served) -> None:
    answer = served.ask("OPTIONS", "/v1/jobs")
    assert (answer.status, answer.code) == (405, "bad_method")


@pytest.mark.parametrize(
    "override", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method"]
)
def test_p31_no_header_or_query_changes_the_method(served: Served, override: str) -> None:
    job_id = served.submit()
    served.until_over(job_id)
    path = f"/v1/jobs/{job_id}?_method=DELETE"
    assert served.ask("POST", path, headers={override: "DELETE"}).status == 405
    assert served.ask("GET", path, headers={override: "DELETE"}).status == 200


# Headers


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/static/none"), ("GET", "/v1/jobs"), ("GET", "/none"), ("DELETE", "/v1/jobs/x")],
)
def test_p32_to_p35_every_response_has_the_security_headers(served: Served, method: str, path: str) -> None:
    headers = {name.lower(): value for name, value in served.ask(method, path).headers.items()}
    for name, value in HEADERS:
        assert headers[name.decode()] == value.decode()


def test_p32_to_p35_refusals_have_them_too(served: Served) -> None:
    for answer in (
        served.ask("GET", "/v1/jobs", token=None),
        with_headers(served, Origin="null"),
        with_headers(served, Host="evil.example"),
    ):
        assert answer.headers["content-security-policy"] == dict(HEADERS)[b"content-security-policy"].decode()


def test_p32_p33_the_policy_allows_our_own_files_only() -> None:
    policy = dict(HEADERS)[b"content-security-policy"].decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in policy
    assert "*" not in policy


def test_the_server_header_is_absent(served: Served) -> None:
    assert "server" not in {name.lower() for name in served.ask("GET", "/").headers}


# Streams


@pytest.mark.parametrize("path", ["/v1/jobs/stream", "/v1/jobs/job-0/stream"])
def test_p36_streams_need_the_token(served: Served, path: str) -> None:
    assert served.ask("GET", path, token=None).status == 401


@pytest.mark.slow
def test_p37_followers_of_a_job_are_limited_and_released(tmp_path: Path) -> None:
    with Served(tmp_path, FakeEngine(wait_for_cancel)) as served:
        job_id = served.submit()
        path = f"/v1/jobs/{job_id}/stream"
        followers = [Follower(served.port, path) for _ in range(64)]
        for follower in followers:
            assert next(follower).event == "run_started"
        answer = served.ask("GET", path)
        assert (answer.status, answer.code) == (429, "too_many_followers")
        followers.pop().__exit__(None, None, None)
        until(lambda: is_followed(served, path), "a place")
        for follower in followers:
            follower.__exit__(None, None, None)


def is_followed(served: Served, path: str) -> bool:
    """Whether there is a place for one more follower."""
    with Follower(served.port, path) as follower:
        return follower.begin() == 200


@pytest.mark.slow
def test_p37_the_number_of_streams_is_limited(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        job_id = served.submit()
        served.until_over(job_id)
        followers = [Follower(served.port, "/v1/jobs/stream") for _ in range(256)]
        assert [next(follower).event for follower in followers] == ["jobs"] * 256
        answer = served.ask("GET", "/v1/jobs/stream")
        assert (answer.status, answer.code) == (429, "too_many_followers")
        for follower in followers:
            follower.__exit__(None, None, None)


def wait_for_cancel(order: Order, cancel: Cancellation) -> Iterator[Event]:
    """A run that waits until it is cancelled."""
    yield RunStarted("ensure", (order.model,))
    while not cancel.cancelled:
        time.sleep(0.002)
    yield RunFinished("cancelled", 130, 0.0, (), None)


class FastTimeouts(Connection):
    """A connection with timeouts short enough for a test."""

    head_seconds = 0.2
    read_seconds = 0.3


@pytest.mark.slow
def test_p38_p39_a_stalled_reader_is_disconnected_and_may_reconnect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flood(order: Order, _cancel: Cancellation) -> Iterator[Event]:
        yield RunStarted("ensure", (order.model,))
        for n in range(3_000):
            yield RetryScheduled("m", f"file-{n}", "mirror", "a.example", 2, "busy", "x" * 1000, 1.0)
        yield RunFinished("completed", 0, 0.0, (), None)

    monkeypatch.setattr(FastTimeouts, "head_seconds", HELD)  # which is not what is tested
    with Served(tmp_path, FakeEngine(flood), connection=FastTimeouts) as served:
        job_id = served.submit()
        path = f"/v1/jobs/{job_id}/stream"
        with Follower(served.port, path, buffer=4096) as stalled:
            until(lambda: served.jobs.get(job_id).state.is_over, "the end of the job")
            connections = served._server.server_state.connections
            until(lambda: not connections, "the end of the connection")
            with pytest.raises((ConnectionError, http.client.IncompleteRead)):
                list(stalled)
        # Who comes back reads as fast as the machine can.
        monkeypatch.setattr(FastTimeouts, "read_seconds", HELD)
        assert len(served.messages(job_id)) == 3_003


# Limits


def test_p40_a_large_body_is_refused_by_its_length(served: Served) -> None:
    body = b" " * (MAX_BODY_BYTES + 1)
    answer = served.ask("POST", "/v1/jobs", body=body, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.code) == (413, "too_large")


def test_p40_a_large_body_without_a_length_is_refused_while_it_arrives(served: Served) -> None:
    head = f"POST /v1/jobs HTTP/1.1\nHost: 127.0.0.1:{served.port}\nAuthorization: Bearer {TOKEN}\n"
    head += "Content-Type: application/json\nTransfer-Encoding: chunked\n"
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    status, answer = raw(served, head, chunk * 20 + b"0\r\n\r\n")
    assert status == 413
    assert b"too_large" in answer


def test_p40_a_body_of_just_that_size_is_read(served: Served) -> None:
    body = json.dumps(ORDER).encode().ljust(MAX_BODY_BYTES)
    headers = {"Content-Type": "application/json"}
    assert served.ask("POST", "/v1/jobs", body=body, headers=headers).status == 202


def test_p41_many_headers_are_refused(served: Served) -> None:
    headers = {f"X-{n}": "y" for n in range(MAX_HEAD_FIELDS)}
    answer = served.ask("GET", "/v1/jobs", headers=headers)
    assert (answer.status, answer.code) == (431, "headers_too_large")


@pytest.mark.parametrize("size", [20_000, 200_000])
def test_p41_long_headers_are_refused(served: Served, size: int) -> None:
    assert raw_get(served, f"Host: 127.0.0.1:{served.port}", f"X: {'y' * size}") in (0, 400, 431)


@pytest.mark.slow
def test_p42_a_client_that_sends_no_request_is_disconnected(tmp_path: Path) -> None:
    with Served(tmp_path, connection=FastTimeouts) as served:
        for sent in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-"):
            started = time.monotonic()
            with socket.create_connection(("127.0.0.1", served.port), IN_TIME) as connection:
                answer = b""
                with contextlib.suppress(ConnectionError):
                    connection.sendall(sent)
                    answer = connection.recv(1)
                assert answer == b""
                assert 0.1 < time.monotonic() - started < IN_TIME


def is_cut(connection: socket.socket) -> bool:
    """Whether the server has closed a connection; sends one more byte."""
    try:
        connection.sendall(b"G")
    except ConnectionError:
        return True
    return False


def test_p42_a_client_that_sends_byte_by_byte_is_disconnected(tmp_path: Path) -> None:
    with (
        Served(tmp_path, connection=FastTimeouts) as served,
        socket.create_connection(("127.0.0.1", served.port), IN_TIME) as connection,
    ):
        until(lambda: is_cut(connection), "the end of the connection")


@pytest.mark.slow
def test_p42_a_fast_client_is_not_disconnected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each limit is for one step, not for the life of a connection; this client has seconds for a step."""
    monkeypatch.setattr(FastTimeouts, "head_seconds", 3.0)
    monkeypatch.setattr(FastTimeouts, "read_seconds", 3.0)
    with Served(tmp_path, FakeEngine(wait_for_cancel), connection=FastTimeouts) as served:
        job_id = served.submit()
        with served.follow(f"/v1/jobs/{job_id}/stream") as follower:
            assert next(follower).event == "run_started"
            time.sleep(3.5)
            served.ask("DELETE", f"/v1/jobs/{job_id}")
            assert list(follower)[-1].data == "[CANCELLED]"


# Content

TRAVERSALS = [
    "../guard.py",
    "..%2fguard.py",
    "%2e%2e/guard.py",
    "..\\guard.py",
    "....//guard.py",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "index.html%00.js",
    "./index.html",
    "static/../../guard.py",
    "",
    "views",
    "views/",
]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_p43_no_path_reaches_other_files(served: Served, path: str) -> None:
    lines = [f"GET /static/{path} HTTP/1.1", f"Host: 127.0.0.1:{served.port}"]
    status, answer = raw(served, "\n".join(lines))
    assert status == 404
    assert b"import" not in answer


def hostile(order: Order, _cancel: Cancellation) -> Iterator[Event]:
    """A run in which all foreign text is an attack."""
    host, path = f"{SCRIPT}.example", f"{SCRIPT}\x1b[31m\u202e\x9b31m\u2028.bin"
    file = PlannedFile(path, 10, "a" * 64, "missing", 0, (f"mirror {host}",))
    yield RunStarted("ensure", (order.model,))
    yield Planned(order.model, "1", SCRIPT, SCRIPT, SCRIPT, SCRIPT, "/x", 10, 10, (file,))
    yield FileStarted(order.model, path, 10, 0)
    yield RetryScheduled(order.model, path, "mirror", host, 2, "busy", f"{SCRIPT}\r\n\r\ndata: x", 1.0)
    error = ErrorInfo("unavailable", f"{SCRIPT}\x1b]0;title\x07", SCRIPT)
    yield RunFinished("failed", 6, 0.0, (), error)


def test_p44_to_p47_foreign_text_can_neither_end_a_script_nor_control_a_terminal(tmp_path: Path) -> None:
    with Served(tmp_path, FakeEngine(hostile)) as served:
        job_id = served.submit()
        snapshot = served.until_over(job_id)
        bodies = [
            served.ask("GET", path).body.decode()
            for path in ("/v1/jobs", f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/stream")
        ]
        bodies.append(served.ask("POST", "/v1/jobs", {"operation": SCRIPT, "model": "m"}).body.decode())
        bodies.append(served.ask("GET", f"/v1/jobs/{'%3Cscript%3E'}").body.decode())
        bodies.append(served.ask("GET", "/v1/models/%3Cscript%3E").body.decode())
    for body in bodies:
        data = re.sub(r"^data: \[ERROR\].*$", "", body, flags=re.MULTILINE)
        assert "<" not in data
        assert all(character == "\n" or character.isprintable() for character in body)
    assert snapshot["error"]["message"].startswith(SCRIPT)
    assert snapshot["files"][0]["host"].startswith(SCRIPT)


def test_p47_responses_are_json_without_content_sniffing(served: Served) -> None:
    for path in ("/v1/jobs", "/v1/models", "/none"):
        answer = served.ask("GET", path)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"


# Power

POWERS = [
    {"urls": ["http://evil.example/x"]},
    {"sources": ["http://evil.example"]},
    {"mirrors": ["http://evil.example/{path}"]},
    {"to": "/tmp/x"},
    {"path": "/tmp/x"},
    {"cache_dir": "/tmp/x"},
    {"settings": {"network.files": 64}},
    {"connections": 64},
    {"manifest": "schema = 1"},
    {"hf_token": "x"},
    {"__proto__": {}},
]


@pytest.mark.parametrize("more", POWERS, ids=lambda more: next(iter(more)))
def test_p48_p49_a_submission_names_a_model_and_nothing_else(served: Served, more: dict[str, object]) -> None:
    answer = served.ask("POST", "/v1/jobs", ORDER | more)
    assert (answer.status, answer.code) == (400, "bad_request")
    assert served.jobs.all() == []


@pytest.mark.parametrize(
    "model",
    ["/etc/passwd", "file:///etc/passwd", "../m", "http://evil.example/m.toml", "hf:org/repo", "m\x00"],
)
def test_p50_a_model_is_a_name_in_a_catalog_and_never_a_path(served: Served, model: str) -> None:
    answer = served.ask("POST", "/v1/jobs", {"operation": "model_download", "model": model})
    assert (answer.status, answer.code) == (404, "unknown_model")


# Rebinding


def test_p51_p52_a_page_with_a_rebound_name_is_refused(served: Served) -> None:
    """The browser connects to 127.0.0.1, as the page's name resolves to it, and sends that name in Host."""
    page = "evil.example"
    for fetched in ("/", "/static/index.html", "/v1/jobs"):
        lines = [
            f"GET {fetched} HTTP/1.1",
            f"Host: {page}:{served.port}",
            f"Referer: http://{page}:{served.port}/",
            "Sec-Fetch-Site: same-origin",
            "Sec-Fetch-Mode: cors",
        ]
        status, answer = raw(served, "\n".join(lines))
        assert status == 421
        assert b"script" not in answer.partition(b"\r\n\r\n")[2]


def test_p52_a_rebound_page_is_refused_even_with_the_token(served: Served) -> None:
    lines = [
        "POST /v1/jobs HTTP/1.1",
        f"Host: evil.example:{served.port}",
        f"Origin: http://evil.example:{served.port}",
        f"Authorization: Bearer {TOKEN}",
        "Content-Type: application/json",
        "Sec-Fetch-Site: same-origin",
        f"Content-Length: {len(json.dumps(ORDER))}",
    ]
    assert raw(served, "\n".join(lines), json.dumps(ORDER).encode())[0] == 421
    assert served.jobs.all() == []


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (Address("0.0.0.0", "0.0.0.0", 8765), "Use the IP address of it"),
        (Address("127.0.0.1", "127.0.0.1", 8765), "Use http://127.0.0.1:8765"),
        (Address("0.0.0.0", "0.0.0.0", 8765, public="https://m.example"), "Use https://m.example"),
    ],
)
def test_a_client_of_another_machine_is_not_sent_to_its_own_loopback(address: Address, words: str) -> None:
    refusal = judge(Request("GET", "/v1/jobs", [("host", "other.example:8765")]), address, TOKEN)
    assert refusal is not None
    assert refusal.hint.startswith(words)
    assert "--allow-host" in refusal.hint
