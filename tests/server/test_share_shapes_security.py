"""What the shapes of the cache must not do for strangers: no path, no list, no oracle, no endless answer."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelfetch.ipfs.cid import DAG_PB, IDENTITY, Cid
from modelfetch.server import share_responses
from modelfetch.server.api_table import ENDPOINTS, Endpoint
from modelfetch.store.chunk_maps import one_chunk_cid
from tests.patience import IN_TIME
from tests.server.running import TOKEN, until
from tests.server.shapes import Shapes
from tests.share.home import BIG, COMMIT, CONTENTS, MIB, Home, built, digest, model
from tests.share.test_shared_blocks import directory_of, hostile

ROOT = built(BIG).root.text
LEAVES = [(one_chunk_cid(digest(BIG[at : at + MIB])), at) for at in range(0, len(BIG), MIB)]
SECRET = b"this file is beside the catalog"
PAGE = {"index.html": b"<script>alert(1)</script>"}
REPEATED, REPEATED_ROOT = hostile(40, 12)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("home"))
    home.place(model(ipfs_cid=directory_of(CONTENTS).text, oci="registry.example/models/tiny"))
    home.place(model("page", PAGE, "org/page"), PAGE)
    home.place(model("repeated", REPEATED, "org/repeated"), REPEATED)
    (home.root / "secret").write_bytes(SECRET)
    (home.cache / "secret").write_bytes(SECRET)
    home.fetch(model("unpinned", {"private.bin": SECRET}, ""), {"private.bin": SECRET})
    return home


@pytest.fixture(scope="module")
def shapes(home: Home) -> Iterator[Shapes]:
    with Shapes(home) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_bug(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No request makes the server log anything."""
    with caplog.at_level(logging.WARNING):
        yield
    assert not caplog.records


def raw(shapes: Shapes, target: str, *fields: str, method: str = "GET") -> bytes:
    """Send a target exactly as written, and return everything that comes."""
    lines = [
        f"{method} {target} HTTP/1.1",
        f"Host: 127.0.0.1:{shapes.port}",
        "Connection: close",
        *fields,
        "",
        "",
    ]
    answer = b""
    with socket.create_connection(("127.0.0.1", shapes.port), IN_TIME) as to:
        to.sendall("\r\n".join(lines).encode("latin-1"))
        while piece := to.recv(1 << 20):
            answer += piece
    return answer


def status(answer: bytes) -> int:
    return int(answer.split()[1])


# Paths

OUT = (
    "../secret",
    "..%2fsecret",
    "%2e%2e/secret",
    "%2e%2e%2fsecret",
    "..%5csecret",
    "%252e%252e%252fsecret",
    "..%c0%afsecret",
)
PREFIXES = (
    "/org/tiny/resolve/main/",
    "/org/tiny/resolve/main/onnx/../../../",
    "/org/tiny/resolve/",
    "/org/",
    "/tiny/resolve/main/",
    "/datasets/org/",
    "/api/models/org/tiny/tree/main/",
    "/api/models/org/tiny/revision/",
    "/api/models/",
    "/v2/tiny/blobs/",
    "/v2/tiny/manifests/",
    "/v2/",
    f"/ipfs/{ROOT}/",
    "/ipfs/",
)


@pytest.mark.quick(every=5)
@pytest.mark.parametrize("out", OUT)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_no_path_leads_out(shapes: Shapes, prefix: str, out: str) -> None:
    answer = raw(shapes, prefix + out)
    assert status(answer) in (400, 401, 404)
    assert SECRET not in answer


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    "target",
    [
        "/org/tiny/resolve/main//etc/passwd",
        "/org/tiny/resolve/main/%2fetc%2fpasswd",
        "/org/tiny/resolve/main/C:%5cWindows%5cwin.ini",
        "/org/tiny/resolve/main/config.json%00.txt",
        "/org/tiny/resolve/main/config.json/",
        "/org/tiny/resolve/main/./config.json",
        "/org/tiny/resolve/main/onnx/../config.json",
        "/org/tiny/resolve/main/CONFIG.JSON",
        "/org/tiny/resolve/main/config.json%20",
        "/org/tiny/resolve/main/config.json%0a",
        "/org/tiny/resolve/main/config%ff.json",
        "/org/tiny/resolve/%ff/config.json",
        "/org%2ftiny/resolve/main/secret",
        "/org//tiny/resolve/main/config.json",
        "//org/tiny/resolve/main/config.json",
        "/ORG/tiny/resolve/main/config.json",
        "/org/tiny/resolve//config.json",
        "/org/tiny/resolve/main/",
        "/org/tiny/resolve/main",
        "/a/org/tiny/resolve/main/config.json",
        "/v2/tiny/blobs/sha256:" + digest(CONTENTS["config.json"]).upper(),
        "/v2/tiny/blobs/sha256:" + digest(CONTENTS["config.json"]) + "%0a",
        "/v2/tiny/blobs/" + digest(CONTENTS["config.json"]),
        "/v2/tiny/blobs/sha512:" + "0" * 128,
        "/v2/tiny/blobs/",
        "/v2//blobs/sha256:" + digest(CONTENTS["config.json"]),
        "/v2/tiny/manifests/latest/",
        "/v2/tiny/blobs/uploads/",
        "/v2/tiny%00/manifests/latest",
        "/v2/%ff/manifests/latest",
    ],
)
def test_only_the_exact_name_is_found(shapes: Shapes, target: str) -> None:
    answer = raw(shapes, target)
    assert status(answer) in (400, 401, 404), answer[:200]


@pytest.mark.quick(every=4)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize(
    "target",
    [
        "/api%2Fmodels/org/tiny",
        "/api%2Fmodels%2Forg%2Ftiny",
        "/api/models%2Forg/tiny",
        "/%61pi%2fdatasets/x/tree/main",
        "/api%2Fmodels/org/tiny/paths-info/main",
        "/api%2Fmodels%2Forg%2Ftiny%2Fpaths-info%2Fmain",
        "/datasets%2Forg/tiny/resolve/main/x",
        "/v2%2Ftiny/manifests/latest",
        f"/ipfs%2F{ROOT}?format=raw",
    ],
)
def test_a_slash_that_is_encoded_in_the_prefix_is_no_bug(shapes: Shapes, target: str, method: str) -> None:
    assert status(raw(shapes, target, "Content-Length: 0", method=method)) in (400, 404, 405)


def test_a_slash_that_is_encoded_is_part_of_a_name(shapes: Shapes) -> None:
    # Clients encode a branch with slashes so; the name of a file is compared as a whole anyway.
    assert status(raw(shapes, "/org/tiny/resolve/main/onnx%2Fmodel.onnx", method="HEAD")) == 200
    assert status(raw(shapes, "/org/tiny/resolve/refs%2Fheads%2Fmain/config.json")) == 404


@pytest.mark.parametrize(
    "prefix",
    [
        "/org/tiny/resolve/main/",
        "/org/tiny/resolve/",
        "/",
        "/api/models/",
        "/v2/",
        "/v2/tiny/manifests/",
        "/ipfs/",
        f"/ipfs/{ROOT}/",
    ],
)
def test_a_huge_name_is_refused(shapes: Shapes, prefix: str) -> None:
    # h11 ends what is longer than its buffer; below that, the name is simply unknown.
    for length in (4_000, 15_000, 40_000):
        answer = raw(shapes, f"{prefix}{'a' * length}/resolve/x?format=car")
        assert status(answer) in (400, 401, 404, 431)
        assert len(answer) < 4_000


def test_many_names_are_refused(shapes: Shapes) -> None:
    for prefix in ("/org/tiny/resolve/main/", "/v2/", f"/ipfs/{ROOT}/", "/api/models/"):
        assert status(raw(shapes, prefix + "a/" * 5000 + "?format=car")) in (400, 401, 404)


# Answers


@pytest.mark.parametrize(
    "target",
    [
        "/org/%0d%0aX-Evil:%201/resolve/main/config.json",
        "/org/tiny/resolve/main/%0d%0aX-Evil:%201",
        "/org/tiny/resolve/%0d%0aX-Evil:%201/x",
        "/api/models/org/%0d%0aX-Evil:%201/tree/main",
        "/v2/%0d%0aX-Evil:%201/manifests/latest",
        "/v2/tiny/manifests/%0d%0aX-Evil:%201",
        "/v2/tiny/tags/list?last=%0d%0aX-Evil:%201",
        "/ipfs/%0d%0aX-Evil:%201?format=raw",
        f"/ipfs/{ROOT}/%0d%0aX-Evil:%201?format=car",
        f"/ipfs/{ROOT}?format=car&entity-bytes=%0d%0aX-Evil:%201",
    ],
)
def test_nothing_of_a_request_becomes_a_header(shapes: Shapes, target: str) -> None:
    head, _, body = raw(shapes, target).partition(b"\r\n\r\n")
    assert b"evil" not in head.lower()
    assert b"\r" not in body
    assert all(character == "\n" or character.isprintable() for character in body.decode())


def test_a_page_in_a_model_is_not_shown_by_a_browser(shapes: Shapes) -> None:
    answer = shapes.get("/org/page/resolve/main/index.html")
    headers = {name.lower(): value for name, value in answer.headers.items()}
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"].startswith("attachment")
    for path in (
        f"/v2/page/blobs/sha256:{digest(answer.body)}",
        f"/ipfs/{one_chunk_cid(digest(answer.body)).text}?format=raw",
    ):
        kind = {name.lower(): value for name, value in shapes.get(path).headers.items()}["content-type"]
        assert kind in ("application/octet-stream", "application/vnd.ipld.raw")


def test_no_answer_sends_a_client_elsewhere(shapes: Shapes) -> None:
    for path in (
        "/org/tiny/resolve/main/config.json",
        "/api/models/org/tiny",
        "/v2/tiny/manifests/v1",
        f"/ipfs/{ROOT}?format=raw",
    ):
        answer = shapes.get(path)
        assert answer.status == 200
        names = {name.lower() for name in answer.headers}
        assert names.isdisjoint(
            {
                "location",
                "link",
                "x-xet-hash",
                "www-authenticate",
                "set-cookie",
                "access-control-allow-origin",
            }
        )


def test_nothing_tells_where_the_files_are(shapes: Shapes, home: Home) -> None:
    for path in (
        "/api/models/org/tiny?blobs=true",
        "/api/models/org/tiny/tree/main",
        "/v2/tiny/manifests/v1",
    ):
        assert str(home.root).encode() not in shapes.get(path).body


# No list


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    "target",
    [
        "/api/models",
        "/api/models/",
        "/api/models?search=tiny",
        "/api/models?author=org",
        "/api/models/?search=tiny",
        "/api/models/org",
        "/api/models/org/",
        "/api/datasets",
        "/api/spaces/",
        "/api/whoami-v2",
        "/v2/_catalog",
        "/v2/_catalog?n=100",
        "/v2/tags/list",
        "/v2/models/tags/list",
        "/v2/*/tags/list",
        "/ipfs",
        "/ipfs/",
        "/ipfs/?format=car",
        "/ipns/example.org?format=raw",
        "/routing/v1/providers/" + ROOT,
        "/org",
        "/org/tiny",
        "/org/tiny/tree/main",
    ],
)
def test_nothing_is_listed(shapes: Shapes, target: str) -> None:
    answer = raw(shapes, target)
    assert status(answer) in (400, 401, 404)
    assert b"config.json" not in answer
    assert b"latest" not in answer


def test_what_no_manifest_pins_is_not_served(shapes: Shapes) -> None:
    cid = one_chunk_cid(digest(SECRET)).text
    for path in (
        "/unpinned/resolve/main/private.bin",
        "/v2/unpinned/manifests/latest",
        f"/v2/tiny/blobs/sha256:{digest(SECRET)}",
        f"/ipfs/{cid}?format=raw",
        f"/ipfs/{cid}?format=car",
    ):
        assert shapes.get(path).status == 404


def test_a_blob_of_another_repository_is_unknown(shapes: Shapes) -> None:
    other = digest(REPEATED["0"])
    assert shapes.get(f"/v2/tiny/blobs/sha256:{other}").status == 404
    assert shapes.get(f"/v2/repeated/blobs/sha256:{other}").status == 200


# Oracles


@pytest.mark.parametrize("state", ["absent", "wrong bytes", "wrong size", "link", "directory"])
def test_what_is_not_verified_is_answered_as_what_is_absent(tmp_path: Path, state: str) -> None:
    home = Home(tmp_path)
    content = b"a model that is not verified"
    home.pin(model("bad", {"a": content}, "org/bad"))
    path = home.blob(content)
    path.parent.mkdir(parents=True)
    if state == "wrong bytes":
        path.write_bytes(content[::-1])
    elif state == "wrong size":
        path.write_bytes(content + b"!")
    elif state == "link":
        (tmp_path / "target").write_bytes(content)
        path.symlink_to(tmp_path / "target")
    elif state == "directory":
        path.mkdir()
    with Shapes(home) as shapes:
        sha256 = digest(content)
        answers = [
            shapes.get("/org/bad/resolve/main/a"),
            shapes.get(f"/v2/bad/blobs/sha256:{sha256}"),
            shapes.get(f"/ipfs/{one_chunk_cid(sha256).text}?format=raw"),
        ]
    assert [answer.status for answer in answers] == [404, 404, 404]
    assert answers[0].document == {"error": "This file is not in this cache"}
    assert answers[1].document["errors"][0]["code"] == "BLOB_UNKNOWN"
    assert answers[2].body == b"not found\n"


@pytest.mark.parametrize("changed", [0, 2 * MIB + 5])
def test_no_changed_byte_is_sent(tmp_path: Path, changed: int) -> None:
    home = Home(tmp_path)
    home.place(model())
    wrong = bytearray(BIG)
    wrong[changed] ^= 1
    for path in (home.blob(BIG), *home.cache.glob("models/tiny/*/onnx/model.onnx")):
        path.unlink()
        path.write_bytes(wrong)
    with Shapes(home) as shapes:
        for target in (
            "/org/tiny/resolve/main/onnx/model.onnx",
            f"/v2/tiny/blobs/sha256:{digest(BIG)}",
            f"/ipfs/{ROOT}?format=car",
        ):
            assert shapes.get(target).status == 404


# Amplification


@pytest.mark.slow
def test_a_car_of_repeated_blocks_is_cut_off(shapes: Shapes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shapes.port, timeout=IN_TIME)
    connection.request("GET", f"/ipfs/{REPEATED_ROOT.text}?format=car&car-dups=y")
    response = connection.getresponse()
    assert response.status == 200
    with pytest.raises((http.client.IncompleteRead, ConnectionError)) as caught:
        response.read()
    connection.close()
    if isinstance(caught.value, http.client.IncompleteRead):
        assert len(caught.value.partial) < 8 * MIB


@pytest.mark.parametrize("scope", ["all", "entity", "block"])
@pytest.mark.parametrize("dups", ["y", "n"])
def test_no_scope_sends_more_than_the_file(shapes: Shapes, scope: str, dups: str) -> None:
    answer = shapes.get(f"/ipfs/{ROOT}?format=car&dag-scope={scope}&car-dups={dups}")
    assert answer.status == 200
    assert len(answer.body) < len(BIG) + 1000


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("span", "expected", "most"),
    [
        ("0:*", 200, len(BIG) + 1000),
        ("0:0", 200, MIB + 1000),
        ("0:9999999999999999999", 200, len(BIG) + 1000),
        ("-9999999999999999999:*", 200, len(BIG) + 1000),
        ("-1:*", 200, MIB),
        ("5:-9999999999999999999", 400, 1000),
        ("9999999999999999999:*", 400, 1000),
        ("99999999999999999999:*", 400, 1000),
        ("1:0", 400, 1000),
        ("*:*", 400, 1000),
        ("0x10:*", 400, 1000),
        ("%D9%A1:*", 400, 1000),
        ("", 400, 1000),
    ],
)
def test_extremes_of_entity_bytes(shapes: Shapes, span: str, expected: int, most: int) -> None:
    answer = shapes.get(f"/ipfs/{ROOT}?format=car&entity-bytes={span}")
    assert answer.status == expected
    assert len(answer.body) < most


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    "cid",
    [
        "b" + "a" * 600,
        "z" + "1" * 500,
        "Qm" + "1" * 44,
        "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi%00",
        "%62afkqaaa%2f..",
        Cid(1, DAG_PB, IDENTITY, bytes([0x12, 0x80, 0x80, 0x80, 0x08])).text,
        Cid(1, DAG_PB, IDENTITY, bytes(128)).text,
    ],
)
@pytest.mark.parametrize("form", ["raw", "car"])
def test_odd_identifiers_cost_nothing(shapes: Shapes, cid: str, form: str) -> None:
    answer = shapes.get(f"/ipfs/{cid}?format={form}")
    assert answer.status in (200, 400, 404)
    assert len(answer.body) < 1000


def test_a_query_with_many_fields_is_refused_or_ignored(shapes: Shapes) -> None:
    flood = "&".join(f"a{number}=1" for number in range(1200))
    assert status(raw(shapes, f"/ipfs/{ROOT}?format=car&{flood}")) == 400
    assert status(raw(shapes, f"/api/models/org/tiny?{flood}")) == 200
    assert status(raw(shapes, f"/v2/tiny/tags/list?{flood}")) == 200


def test_many_media_types_are_no_bug(shapes: Shapes) -> None:
    accept = "Accept: " + ",".join(["text/html;q=0.1;;==;"] * 600)
    assert status(raw(shapes, f"/ipfs/{ROOT}", accept)) == 400
    assert status(raw(shapes, "/v2/tiny/manifests/latest", accept)) == 404


@pytest.mark.parametrize("count", ["-1", "1e9", "9999999", "", "%D9%A3", "0x1"])
def test_a_page_of_tags_needs_a_number(shapes: Shapes, count: str) -> None:
    assert shapes.get(f"/v2/tiny/tags/list?n={count}").status == 400


def stream(shapes: Shapes, root: str = ROOT) -> bytes:
    """Write a request for a CAR file of a large file."""
    return f"GET /ipfs/{root}?format=car HTTP/1.1\r\nHost: 127.0.0.1:{shapes.port}\r\n\r\n".encode()


def test_a_stream_takes_a_slot_and_gives_it_back(shapes: Shapes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_responses, "WAIT_SECONDS", 0.2)
    share_state = shapes.share_state
    assert share_state is not None
    held = []
    for _ in range(share_state.limits.slots.of_one):
        to = socket.socket()
        to.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        to.settimeout(IN_TIME)
        to.connect(("127.0.0.1", shapes.port))
        to.sendall(stream(shapes))
        held.append(to)
    until(lambda: share_state.counters.snapshot()["active"] == len(held), "all streams")
    answer = shapes.get(f"/ipfs/{ROOT}?format=car")
    assert answer.status == 503
    assert {name.lower() for name in answer.headers} >= {"retry-after"}
    assert shapes.get("/api/models/org/tiny").status == 200  # small documents need none
    for to in held:
        to.close()
    until(lambda: share_state.counters.snapshot()["active"] == 0, "the end of all streams")
    until(lambda: shapes.get(f"/ipfs/{ROOT}?format=car").status == 200, "a free slot")


@pytest.mark.slow
def test_a_client_that_requests_all_blocks_at_once_gets_all(
    shapes: Shapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share_responses, "WAIT_SECONDS", IN_TIME)
    share_state = shapes.share_state
    assert share_state is not None
    targets = [f"/ipfs/{cid.text}?format=raw" for cid, _ in LEAVES] * 8
    assert len(targets) > 4 * share_state.limits.slots.of_one
    with ThreadPoolExecutor(len(targets)) as pool:
        answers = list(pool.map(shapes.get, targets))
    assert b"".join(answer.body for answer in answers) == BIG * 8


@pytest.mark.slow
def test_idle_connections_do_not_end_a_stream(tmp_path: Path) -> None:
    """Beyond a number of connections without a token the oldest are closed, but none that sends blocks."""
    home = Home(tmp_path)
    large = {"large.bin": b"".join(bytes([n]) * MIB for n in range(32))}
    home.place(model("large", large), large)
    with Shapes(home) as shapes, contextlib.ExitStack() as idle:
        to = idle.enter_context(socket.create_connection(("127.0.0.1", shapes.port), IN_TIME))
        root = built(large["large.bin"]).root.text
        to.sendall(stream(shapes, root) + stream(shapes, root).replace(b"GET", b"HEAD"))
        got = bytearray(to.recv(1000))
        for _ in range(300):
            idle.enter_context(socket.create_connection(("127.0.0.1", shapes.port), IN_TIME))
        while not got.endswith(b"\r\n\r\n") or got.count(b"HTTP/1.1 200 OK") < 2:
            piece = to.recv(MIB)
            assert piece, "cut off"
            got += piece
        assert len(got) > 32 * MIB


@pytest.mark.slow
def test_lost_clients_leave_no_descriptor(shapes: Shapes) -> None:
    share_state = shapes.share_state
    assert share_state is not None
    until(lambda: share_state.counters.snapshot()["active"] == 0, "quiet")
    shapes.get(f"/ipfs/{ROOT}?format=car")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(12):
        with socket.create_connection(("127.0.0.1", shapes.port), IN_TIME) as to:
            to.sendall(stream(shapes))
            to.recv(100)
        until(lambda: share_state.counters.snapshot()["active"] == 0, "the end of the stream")
    until(lambda: len(os.listdir("/proc/self/fd")) <= before + 1, "closed files")


# Methods, tokens, origins

SHARED = (
    "/org/tiny/resolve/main/config.json",
    "/api/models/org/tiny",
    "/v2/",
    "/v2/tiny/manifests/latest",
    "/v2/tiny/blobs/uploads/",
    f"/ipfs/{ROOT}?format=raw",
)


@pytest.mark.quick(every=5)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", SHARED)
def test_everything_is_read_only(shapes: Shapes, path: str, method: str) -> None:
    for field in ("Content-Length: 0", f"Authorization: Bearer {TOKEN}"):
        assert status(raw(shapes, path, field, method=method)) == 405


@pytest.mark.parametrize("path", SHARED)
def test_a_page_of_another_origin_reads_nothing(shapes: Shapes, path: str) -> None:
    assert status(raw(shapes, path, "Origin: https://evil.example")) == 403
    assert status(raw(shapes, path, "Sec-Fetch-Site: cross-site")) == 403


@pytest.mark.parametrize("path", SHARED)
def test_a_rebound_name_reads_nothing(shapes: Shapes, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", shapes.port), IN_TIME) as to:
        to.sendall(request.encode())
        assert to.recv(4096).split()[1] == b"421"


@pytest.mark.quick(2)
@pytest.mark.parametrize("token", ["hf_secret", TOKEN, "", "a" * 5000])
def test_the_token_of_a_client_changes_nothing(shapes: Shapes, token: str) -> None:
    answer = shapes.get("/org/tiny/resolve/main/config.json", Authorization=f"Bearer {token}")
    assert answer.status == 200
    assert b"hf_secret" not in answer.body + str(answer.headers).encode()
    assert shapes.get("/v1/jobs", Authorization=f"Bearer {token}").status == (200 if token == TOKEN else 401)


@pytest.mark.quick(every=5)
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: f"{each.method} {each.path}")
def test_the_api_of_the_panel_is_closed(shapes: Shapes, endpoint: Endpoint) -> None:
    path = re.sub(r"\{\w+\}", "x", endpoint.path.replace("{name:path}", "org/tiny"))

    assert status(raw(shapes, path, "Content-Length: 0", method=endpoint.method)) == 401


@pytest.mark.parametrize(
    "target",
    [
        "/v1/models/org/tiny/resolve/main/config.json",
        "/v1/models/resolve/x",
        "/v1/status/",
        "/api/metrics/downloads",
        "/api/metrics/downloads/summary",
        "/gm/api/metrics/downloads",
        "/metrics",
        "/openapi.json",
    ],
)
def test_no_general_pattern_opens_a_path_of_the_api(shapes: Shapes, target: str) -> None:
    assert status(raw(shapes, target)) == 401


@pytest.mark.parametrize(
    "target",
    [
        "/api/models/../metrics/downloads",
        "/api/models/%2e%2e/metrics/downloads",
        "/api/models/..%2fmetrics%2fdownloads",
        "/v2/../v1/status",
        "/v2/..%2fv1%2fstatus",
        "/ipfs/../v1/status",
        "/org/tiny/resolve/../../../v1/status",
        "/x/resolve/..%2f..%2f..%2fv1%2fjobs",
    ],
)
def test_no_spelling_of_a_path_opens_the_api(shapes: Shapes, target: str) -> None:
    answer = raw(shapes, target)
    assert status(answer) in (400, 401, 404)
    assert b"models_complete" not in answer
    assert b'"jobs"' not in answer


def test_a_repository_cannot_have_the_name_of_an_endpoint(shapes: Shapes) -> None:
    for path in (
        "/v1/jobs/resolve/main/x",
        "/static/resolve/main/x",
        "/blobs/sha256/resolve/main/x",
        f"/v2/x/resolve/{COMMIT}/x",
    ):
        assert status(raw(shapes, path)) in (401, 404)
