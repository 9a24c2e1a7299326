"""A server that fetches what clients ask for: one download for many, and never an unverified byte."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from modelfetch.catalog import lookup
from modelfetch.engine.events import ErrorInfo
from modelfetch.ipfs.cid import RAW, cid_of
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.model.parse import load_manifest
from modelfetch.server import (
    arriving_response,
    job_queue,
    pull_results,
    pull_through,
    serve,
    waiting_requests,
)
from modelfetch.server.arriving_response import absent
from modelfetch.server.error_responses import Refusal
from modelfetch.server.interim_responses import InterimResponses
from modelfetch.server.pull_results import (
    REPORT_SECONDS,
    DiskReports,
    FailurePauses,
    disk_full,
    origin_failed,
    refusal_of,
)
from modelfetch.server.waiting_requests import WaitingRequests
from modelfetch.share.shared_cache import SharedFile
from modelfetch.store import Store
from modelfetch.store.instance import is_instance
from tests.origin import Origin, ServedModel, faults, model, refusing_port
from tests.patience import HELD, IN_TIME
from tests.server.pulling import Pulling, file_requests, pulling
from tests.server.running import Answer, until

MIB = 1 << 20
FILES = {"config.json": 500, "big.bin": MIB + 100_000, "other.bin": 400_000}


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as running:
        yield running


@pytest.fixture
def served(tmp_path: Path, origin: Origin) -> ServedModel:
    return model(origin, FILES, catalog=tmp_path / "catalog")


@pytest.fixture
def server(tmp_path: Path, served: ServedModel) -> Iterator[Pulling]:
    with pulling(tmp_path, served) as running:
        yield running


def data(served: ServedModel, path: str) -> bytes:
    return served.contents[path].data


def digest(served: ServedModel, path: str) -> str:
    return served.contents[path].sha256


def test_a_file_is_fetched_once_and_then_served_from_here(
    origin: Origin, served: ServedModel, server: Pulling
) -> None:
    for _ in range(3):
        answer = server.get(digest(served, "big.bin"))
        assert (answer.status, answer.body) == (200, data(served, "big.bin"))
    assert origin.sent("*big.bin") == FILES["big.bin"]


def test_only_what_is_asked_for_is_fetched(origin: Origin, served: ServedModel, server: Pulling) -> None:
    assert server.get(digest(served, "config.json")).body == data(served, "config.json")
    assert server.ended_jobs() == [(("config.json",), "completed")]
    assert not origin.asked("*.bin")


def test_a_job_shows_the_file_and_the_history_has_the_run(served: ServedModel, server: Pulling) -> None:
    server.get(digest(served, "config.json"))
    server.until_idle()
    [job] = server.server.ask("GET", "/v1/jobs").document["jobs"]
    assert (job["model"], job["only"], job["files_total"], job["status"]) == (
        "m",
        ["config.json"],
        1,
        "completed",
    )
    with server.server.workspace.load().history() as history:
        [attempt] = history.attempts()
    assert (attempt.model, attempt.file, attempt.outcome) == ("m", "config.json", "success")


def test_many_clients_cause_one_download(origin: Origin, served: ServedModel, server: Pulling) -> None:
    go = threading.Event()
    origin.fault("*big.bin", faults.stall(0.3, until=go))
    sha256 = digest(served, "big.bin")
    with ThreadPoolExecutor(20) as clients:
        answers = [clients.submit(server.get, sha256) for _ in range(20)]
        origin.until(lambda origin: bool(origin.asked("*big.bin")))
        until(lambda: server.share_state.waiting.count == 20, "all clients")
        go.set()
        expected = data(served, "big.bin")
        assert all(answer.result().body == expected for answer in answers)
    assert origin.sent("*big.bin") == FILES["big.bin"]
    assert server.ended_jobs().count((("big.bin",), "completed")) == 1


def test_a_range_is_cut_from_the_verified_file(served: ServedModel, server: Pulling) -> None:
    answer = server.get(digest(served, "big.bin"), Range="bytes=1000-1999")
    assert (answer.status, answer.body) == (206, data(served, "big.bin")[1000:2000])


def test_a_head_request_fetches_nothing(origin: Origin, served: ServedModel, server: Pulling) -> None:
    sha256 = digest(served, "big.bin")
    answer = server.get(sha256, "HEAD")
    assert (answer.status, answer.headers["content-length"]) == (200, str(FILES["big.bin"]))
    assert answer.headers["etag"] == f'"{sha256}"'
    conditional = server.get(sha256, If_None_Match=f'"{sha256}"')
    assert conditional.status == 304
    assert server.get(sha256, Range="bytes=99999999-").status == 416
    assert (origin.requests, server.jobs()) == ([], [])


def test_a_gateway_fetches_nothing_for_a_client_that_wants_no_bytes_or_only_cached_ones(
    origin: Origin, served: ServedModel, server: Pulling
) -> None:
    path = f"/ipfs/{cid_of(data(served, 'config.json'), RAW).text}?format=raw"

    def status(method: str, **headers: str) -> int:
        return server.server.ask(method, path, headers=headers, token=None).status

    assert status("HEAD") == 404
    assert status("GET", **{"Cache-Control": "only-if-cached"}) == 412
    assert (origin.requests, server.jobs()) == ([], [])
    assert status("GET") == 200
    assert status("HEAD") == status("GET", **{"Cache-Control": "only-if-cached"}) == 200


def test_what_no_catalog_pins_is_not_found(origin: Origin, server: Pulling) -> None:
    answer = server.get("ab" * 32)
    assert (answer.status, answer.code) == (404, "not_found")
    assert server.get("config.json").status == 404
    assert (origin.requests, server.jobs()) == ([], [])


# Peers, which ask before they request bytes


def ask(server: Pulling, sha256: str, wait: int = 0, **headers: str) -> Answer:
    return server.get(sha256, Prefer=f"respond-async, wait={wait}", Range="bytes=0-0", **headers)


@pytest.mark.slow
def test_a_question_of_a_peer_begins_the_fetch(origin: Origin, served: ServedModel, server: Pulling) -> None:
    go, sha256 = threading.Event(), digest(served, "big.bin")
    origin.fault("*big.bin", faults.stall(0.3, until=go))
    for _ in range(3):
        answer = ask(server, sha256)
        assert (answer.status, answer.document["begun"] >= 0) == (202, True)
    go.set()
    until(lambda: ask(server, sha256, 10).status == 206, "the file")
    assert (server.ended_jobs(), origin.sent("*big.bin")) == ([(("big.bin",), "completed")], FILES["big.bin"])


def test_a_question_about_what_no_catalog_pins_begins_nothing(origin: Origin, server: Pulling) -> None:
    answer = ask(server, "ab" * 32)
    assert (answer.status, is_instance(answer.headers["x-modelfetch-instance"])) == (404, True)
    assert (origin.requests, server.jobs()) == ([], [])


def test_a_question_about_a_fetch_that_failed_is_not_found(
    monkeypatch: pytest.MonkeyPatch, origin: Origin, served: ServedModel, server: Pulling
) -> None:
    monkeypatch.setattr(pull_results, "FAILURE_SECONDS", HELD)
    origin.fault("*config.json", faults.status(404))
    assert server.get(digest(served, "config.json")).status == 502
    assert ask(server, digest(served, "config.json")).status == 404
    assert file_requests(origin, "config.json") == 1


@pytest.mark.parametrize("is_here", [True, False])
def test_a_question_that_comes_with_the_end_of_a_fetch_is_told_how_it_ended(
    served: ServedModel, server: Pulling, is_here: bool
) -> None:
    """The looks at the disk were before it."""
    sha256 = digest(served, "config.json")

    async def end() -> SharedFile | Refusal:
        return absent(FileSpec("config.json", 500, sha256)) if is_here else origin_failed()

    async def begin() -> bool:
        fetch = server.share_state._fetches[sha256] = asyncio.create_task(end())
        await fetch
        return await server.share_state.begin_fetch(sha256, "192.0.2.7")

    assert asyncio.run(begin()) is is_here
    server.share_state._fetches.clear()
    assert server.jobs() == []


@pytest.mark.slow
def test_two_servers_that_ask_each_other_do_not_wait_for_each_other(tmp_path: Path, origin: Origin) -> None:
    served = model(origin, FILES, catalog=tmp_path / "catalog")
    with ExitStack() as stack:
        servers = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            servers.append(stack.enter_context(pulling(tmp_path / name, served)))
        urls = [f"http://127.0.0.1:{server.server.port}" for server in servers]
        for server in servers:
            server.environ["MODELFETCH_SOURCES_PEERS"] = ",".join(urls)
        sha256 = digest(served, "big.bin")
        with ThreadPoolExecutor(2) as clients:
            answers = [clients.submit(server.get, sha256) for server in servers]
            assert {answer.result().body for answer in answers} == {data(served, "big.bin")}
        # How often the origin is read is tested in tests/server/test_share_peers.py.
        assert all(server.ended_jobs() == [(("big.bin",), "completed")] for server in servers)


def test_a_question_waits_for_no_slot(
    monkeypatch: pytest.MonkeyPatch, served: ServedModel, server: Pulling
) -> None:
    """The peer has said how long it waits; a transfer may hold its slot for minutes."""
    sha256 = digest(served, "big.bin")
    server.get(sha256)
    monkeypatch.setattr(server.share_state.limits.slots, "of_one", 0)
    answer = ask(server, sha256)
    assert (answer.status, answer.code) == (503, "too_many_transfers")


# What the origin may do


def test_wrong_bytes_do_not_reach_the_client(origin: Origin, served: ServedModel, server: Pulling) -> None:
    origin.fault("*big.bin", faults.flipped(MIB))
    answer = server.get(digest(served, "big.bin"))
    assert (answer.status, answer.code) == (502, "origin_failed")
    assert len(answer.body) < 1000
    origin.heal()
    server.share_state._fetches.clear()  # a failure is remembered for some seconds
    assert server.get(digest(served, "big.bin")).body == data(served, "big.bin")


def test_an_origin_that_is_down_is_a_bad_gateway(tmp_path: Path, origin: Origin, served: ServedModel) -> None:
    with refusing_port() as port, pulling(tmp_path, served, HF_ENDPOINT=f"http://127.0.0.1:{port}") as server:
        answer = server.get(digest(served, "config.json"))
    assert (answer.status, answer.code) == (502, "origin_failed")
    assert "127.0.0.1" not in answer.body.decode(), "sources are not shown to clients without a token"
    assert not origin.requests


def test_an_origin_that_wants_credentials_is_a_bad_gateway(
    origin: Origin, served: ServedModel, server: Pulling
) -> None:
    origin.require_token("hf_secret")
    answer = server.get(digest(served, "config.json"))
    assert (answer.status, answer.code) == (502, "origin_refused")


def test_an_offline_server_says_so(tmp_path: Path, origin: Origin, served: ServedModel) -> None:
    with pulling(tmp_path, served, MODELFETCH_OFFLINE="1") as server:
        answer = server.get(digest(served, "config.json"))
    assert (answer.status, answer.code) == (504, "origin_offline")
    assert not origin.requests


def test_a_failure_is_not_repeated_at_once(
    monkeypatch: pytest.MonkeyPatch, origin: Origin, served: ServedModel, server: Pulling
) -> None:
    monkeypatch.setattr(pull_results, "FAILURE_SECONDS", HELD)
    origin.fault("*config.json", faults.status(404))
    assert [server.get(digest(served, "config.json")).status for _ in range(5)] == [502] * 5
    assert file_requests(origin, "config.json") == 1


def test_a_file_that_fails_again_and_again_is_fetched_less_and_less_often() -> None:
    now = 0.0
    failures = FailurePauses(lambda: now)

    def next_pause(refusal: Refusal | None, idle: float = 1.0) -> float:
        nonlocal now
        seconds = failures.seconds("a", refusal)
        now += seconds + idle
        return seconds

    assert [next_pause(origin_failed()) for _ in range(9)] == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert failures.seconds("b", origin_failed()) == 5
    assert next_pause(None) == 0
    assert next_pause(origin_failed()) == 5
    assert next_pause(origin_failed(), idle=3600) == 10
    assert next_pause(origin_failed()) == 5
    assert [next_pause(disk_full()) for _ in range(3)] == [5, 5, 5]


def test_the_origin_is_not_asked_again_as_soon_after_a_second_failure(
    monkeypatch: pytest.MonkeyPatch, origin: Origin, served: ServedModel, server: Pulling
) -> None:
    sha256 = digest(served, "config.json")
    monkeypatch.setattr(pull_results, "FAILURE_SECONDS", 0.001)
    monkeypatch.setattr(pull_results, "MOST_FAILURE_SECONDS", HELD)
    origin.fault("*config.json", faults.status(404))
    for wait in (0.001, 0.002, 0.004):
        assert server.get(sha256).status == 502
        until(lambda: sha256 not in server.share_state._fetches, "the end of the pause")
        assert server.share_state._failure_pauses._last[sha256][0] == wait
    assert file_requests(origin, "config.json") == 3


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        ("timeout", (504, "origin_too_slow")),
        ("lock_timeout", (504, "origin_too_slow")),
        ("disk", (507, "disk_full")),
        ("interrupted", (503, "stopping")),
        ("integrity", (502, "origin_failed")),
        ("bug", (502, "origin_failed")),
    ],
)
def test_each_end_of_a_job_has_its_status(code: str, refused: tuple[int, str]) -> None:
    refusal = refusal_of(ErrorInfo(code, "/home/me is on mirror.internal", ""))
    assert (refusal.status, refusal.code) == refused
    assert "me" not in refusal.message.split()


@pytest.mark.slow
def test_a_manifest_is_not_read_again_for_each_file(served: ServedModel, server: Pulling) -> None:
    """One of 20,000 files takes half a second of a processor, which the owner and other clients need."""
    read: list[Path] = []

    def count(path: Path, content: bytes | None = None) -> Manifest:
        if path.stem == "m":
            read.append(path)
        return load_manifest(path, content)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lookup, "load_manifest", count)
        for path in FILES:
            assert server.get(digest(served, path)).status == 200
        server.until_idle()
    assert len(read) <= 1, read


# Limits


def test_a_full_disk_is_insufficient_storage(
    monkeypatch: pytest.MonkeyPatch, origin: Origin, served: ServedModel, server: Pulling
) -> None:
    monkeypatch.setattr(pull_results, "KEEP_FREE", 1 << 62)
    answer = server.get(digest(served, "big.bin"))
    assert (answer.status, answer.code) == (507, "disk_full")
    assert (origin.requests, server.jobs()) == ([], [])


@pytest.mark.slow
def test_files_that_are_being_fetched_count_as_if_they_were_here(
    monkeypatch: pytest.MonkeyPatch, origin: Origin, served: ServedModel, server: Pulling
) -> None:
    """Each of several large files may fit where all of them do not."""
    go = threading.Event()
    origin.fault("*big.bin", faults.stall(0.1, until=go))
    needed: list[int] = []
    monkeypatch.setattr(Store, "check_space", lambda _self, bytes_, **_options: needed.append(bytes_))
    sizes = [FILES["big.bin"], FILES["big.bin"] + FILES["other.bin"], FILES["config.json"]]
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(server.get, digest(served, "big.bin"))
        origin.until(lambda origin: bool(origin.asked("*big.bin")))
        assert server.get(digest(served, "other.bin")).status == 200
        go.set()
        assert first.result().status == 200
    assert server.get(digest(served, "config.json")).status == 200
    asked = [each - pull_results.KEEP_FREE for each in needed if each >= pull_results.KEEP_FREE]
    assert asked[0] == sizes[0]
    assert 0 <= sizes[1] - asked[1] < FILES["big.bin"], "but for what has arrived of the first one"
    assert asked[2] == sizes[2]


def test_a_full_queue_asks_to_come_back(
    monkeypatch: pytest.MonkeyPatch, origin: Origin, served: ServedModel, server: Pulling
) -> None:
    monkeypatch.setattr(job_queue, "MAX_QUEUED", 0)
    answer = server.get(digest(served, "big.bin"))
    assert (answer.status, answer.code) == (503, "fetch_queue_full")
    assert int(answer.headers["retry-after"]) > 0


def test_clients_that_leave_do_not_cause_more_fetches_than_there_are_places(
    monkeypatch: pytest.MonkeyPatch, origin: Origin, served: ServedModel, server: Pulling
) -> None:
    go = threading.Event()
    origin.fault("*big.bin", faults.stall(0.1, until=go))
    monkeypatch.setattr(pull_through, "MAX_FILE_JOBS", 1)
    monkeypatch.setattr(pull_through, "MAX_QUEUED", 0)
    _leave(server, digest(served, "big.bin"))
    answer = server.get(digest(served, "other.bin"))
    assert (answer.status, answer.code) == (503, "fetch_queue_full")
    assert len(server.jobs()) == 1
    go.set()


def test_one_client_does_not_take_all_places(origin: Origin, served: ServedModel, server: Pulling) -> None:
    go = threading.Event()
    origin.fault("*big.bin", faults.stall(0.1, until=go))
    assert server.share_state._places.of_one == (job_queue.MAX_FILE_JOBS + job_queue.MAX_QUEUED) // 2
    server.share_state._places.of_one = 1
    _leave(server, digest(served, "big.bin"))
    answer = server.get(digest(served, "other.bin"))
    assert (answer.status, answer.code) == (503, "fetch_queue_full")
    assert ask(server, digest(served, "other.bin")).status == 404
    assert len(server.jobs()) == 1
    # It is the limit of that client, so it must not be remembered as a failure of the file for all others.
    server.share_state._places.of_one = 2
    assert server.get(digest(served, "other.bin")).status == 200
    go.set()


def test_the_requests_that_wait_are_limited_in_all_and_for_each_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting_requests, "MAX_WAITING", 3)
    monkeypatch.setattr(waiting_requests, "MAX_WAITING_OF_ONE", 2)
    waiting = WaitingRequests()

    def of(client: str) -> AbstractContextManager[InterimResponses]:
        return waiting.of({"client": (client, 1), "headers": []})

    with of("a"), of("a"):
        with pytest.raises(Refusal), of("a"):
            pass
        with of("b"), pytest.raises(Refusal), of("c"):
            pass
        with of("c"):
            assert waiting.count == 3
    assert waiting.count == 0


def test_a_request_waits_for_a_slot(
    monkeypatch: pytest.MonkeyPatch, served: ServedModel, server: Pulling
) -> None:
    sha256 = digest(served, "big.bin")
    server.get(sha256)
    slots = server.share_state.limits.slots
    monkeypatch.setattr(slots, "of_one", 1)
    until(lambda: not slots.is_full("127.0.0.1"), "the end of the first transfer")
    with ThreadPoolExecutor(3) as clients:
        with slots.hold("127.0.0.1"):
            answers = [clients.submit(server.get, sha256) for _ in range(3)]
            until(lambda: server.share_state.waiting.count == 3, "the clients")
        assert {answer.result().body for answer in answers} == {data(served, "big.bin")}
    assert server.share_state.counters.snapshot()["refused"] == 0


def test_a_request_waits_for_a_slot_only_for_a_while(
    monkeypatch: pytest.MonkeyPatch, served: ServedModel, server: Pulling
) -> None:
    sha256 = digest(served, "big.bin")
    server.get(sha256)
    monkeypatch.setattr(arriving_response, "SLOT_SECONDS", 0.1)
    monkeypatch.setattr(server.share_state.limits.slots, "of_one", 0)
    answer = server.get(sha256)
    assert (answer.status, answer.code) == (503, "too_many_transfers")


def test_files_of_clients_do_not_wait_for_models_of_an_operator(
    origin: Origin, served: ServedModel, server: Pulling
) -> None:
    go = threading.Event()
    origin.fault("*big.bin", faults.stall(0.1, until=go))
    job = server.server.submit("m")
    origin.until(lambda origin: bool(origin.asked("*big.bin")))
    assert server.get(digest(served, "config.json")).body == data(served, "config.json")
    assert server.server.snapshot(job)["status"] == "running"
    go.set()


# Clients


@pytest.mark.slow
def test_a_client_that_leaves_does_not_end_the_fetch(
    origin: Origin, served: ServedModel, server: Pulling
) -> None:
    go = threading.Event()
    origin.fault("*big.bin", faults.stall(0.3, until=go))
    sha256 = digest(served, "big.bin")
    with ThreadPoolExecutor(1) as others:
        leaving = threading.Thread(target=_leave, args=(server, sha256))
        leaving.start()
        origin.until(lambda origin: bool(origin.asked("*big.bin")))
        leaving.join()
        until(lambda: not server.share_state.waiting.count, "the end of its request")
        other = others.submit(server.get, sha256)
        until(lambda: server.share_state.waiting.count == 1, "the other client")
        go.set()
        assert other.result().body == data(served, "big.bin")
    assert origin.sent("*big.bin") == FILES["big.bin"]


def test_a_fetch_goes_on_though_all_clients_left(
    origin: Origin, served: ServedModel, server: Pulling
) -> None:
    go = threading.Event()
    origin.fault("*big.bin", faults.stall(0.3, until=go))
    _leave(server, digest(served, "big.bin"))
    origin.until(lambda origin: bool(origin.asked("*big.bin")))
    go.set()
    until(lambda: server.jobs() == [(("big.bin",), "completed")], "the end of the job")


def _leave(server: Pulling, sha256: str) -> None:
    """Ask for a file and close the connection a moment later."""
    import socket

    with socket.create_connection(("127.0.0.1", server.server.port)) as client:
        head = f"GET /blobs/sha256/{sha256} HTTP/1.1\r\nHost: 127.0.0.1:{server.server.port}\r\n\r\n"
        client.sendall(head.encode())
        until(server.jobs, "the job")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let who cancels a job or ends the server wait, however long a busy machine takes for it."""
    monkeypatch.setattr(job_queue, "CANCEL_SECONDS", IN_TIME)
    monkeypatch.setattr(serve, "STOP_SECONDS", IN_TIME)


@pytest.mark.usefixtures("patient")
def test_an_operator_cancels_a_fetch(origin: Origin, served: ServedModel, server: Pulling) -> None:
    origin.fault("*big.bin", faults.stall(0.3))
    with ThreadPoolExecutor(1) as clients:
        answer = clients.submit(server.get, digest(served, "big.bin"))
        origin.until(lambda origin: bool(origin.asked("*big.bin")))
        [job] = server.server.jobs.all()
        assert server.server.ask("DELETE", f"/v1/jobs/{job.id}").status == 200
        assert (answer.result().status, answer.result().code) == (503, "fetch_cancelled")


@pytest.mark.usefixtures("patient")
def test_the_end_of_the_server_ends_the_requests(tmp_path: Path, origin: Origin, served: ServedModel) -> None:
    origin.fault("*big.bin", faults.stall(0.3))
    with ThreadPoolExecutor(1) as clients:
        with pulling(tmp_path, served) as server:
            answer = clients.submit(server.get, digest(served, "big.bin"))
            origin.until(lambda origin: bool(origin.asked("*big.bin")))
        assert (answer.result().status, answer.result().code) == (503, "stopping")


@pytest.mark.slow
def test_a_model_is_ready_once_its_last_file_was_asked_for(
    origin: Origin, served: ServedModel, server: Pulling
) -> None:
    for path in FILES:
        assert server.get(digest(served, path)).status == 200
    until(lambda: server.jobs()[-1] == ((), "completed"), "the job for the whole model")
    [found] = [m for m in server.server.ask("GET", "/v1/models").document["models"] if m["name"] == "m"]
    assert found["present"] is True, found
    assert {path: origin.sent(f"*{path}") for path in FILES} == FILES


def test_the_operator_learns_once_an_hour_why_the_disk_takes_no_file(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    reports = DiskReports(lambda: now[0])
    for now[0] in (0.0, 1.0, REPORT_SECONDS):
        reports.tell(f"full at {now[0]:.0f} s")
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [
        "full at 0 s",
        f"full at {REPORT_SECONDS:.0f} s",
    ]


def test_a_full_disk_is_reported_on_the_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, served: ServedModel, server: Pulling
) -> None:
    monkeypatch.setattr(pull_results, "KEEP_FREE", 1 << 62)
    assert server.get(digest(served, "big.bin")).status == 507
    assert "files for clients cannot be stored" in caplog.text
    assert "are needed" in caplog.text


@pytest.mark.slow
def test_a_model_is_ready_too_if_another_process_brought_some_of_its_files(
    served: ServedModel, server: Pulling
) -> None:
    assert server.get(digest(served, "config.json")).status == 200
    server.until_idle()
    file = server.server.workspace.find("m").file("other.bin")
    with server.store.partial(file, True) as partial:
        partial.put(0, data(served, "other.bin"), "mirror a")
        partial.digest()
        server.store.commit(partial)
    assert server.get(digest(served, "big.bin")).status == 200
    until(lambda: server.jobs()[-1] == ((), "completed"), "the job for the whole model")
