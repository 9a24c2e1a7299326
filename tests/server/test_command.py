"""``modelfetch serve`` as a process."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from modelfetch.errors import StoreError
from modelfetch.server.serve import cannot_listen, check_cache
from modelfetch.store import Store
from modelfetch.store.disk import Disk
from tests.e2e.command import Command, Running, assert_fails, bend, end_patiently
from tests.origin import Origin, faults, model
from tests.origin.certificates import Authority
from tests.patience import IN_TIME, PATIENT
from tests.server.running import until

pytestmark = pytest.mark.slow  # real processes, one after the other

MIB = 1 << 20
LINE = re.compile(r"(https?)://(\S+):(\d+)/#token=([A-Za-z0-9_-]{43}|a-token-of-our-own)\n")


@pytest.fixture
def cli(tmp_path: Path) -> Command:
    return Command(tmp_path)


class Server:
    """A server process."""

    def __init__(self, running: Running, context: ssl.SSLContext | None = None) -> None:
        running.until(lambda running: "\n" in running.out)
        line = LINE.fullmatch(running.out)
        assert line is not None, running.out
        self.running = running
        self.scheme, self.host, port, self.token = line.groups()
        self.port = int(port)
        self._context = context

    def ask(self, method: str, path: str, document: object = None, *, token: str | None = None) -> Any:
        """Send a request; gives the document of the answer, or its text."""
        connection = (
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=IN_TIME)
            if self._context is None
            else http.client.HTTPSConnection("localhost", self.port, timeout=IN_TIME, context=self._context)
        )
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        body = None if document is None else json.dumps(document)
        if body is not None:
            headers["Content-Type"] = "application/json"
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse().read().decode()
        return json.loads(answer) if answer.startswith("{") else answer

    def submit(self, name: str = "m") -> str:
        """Submit a download."""
        order = {"operation": "model_download", "model": name}
        return str(self.ask("POST", "/v1/jobs", order)["job_id"])

    def until(self, job_id: str, received: int) -> Any:
        """Wait until a job has so many bytes."""
        deadline = time.monotonic() + IN_TIME
        while (job := self.ask("GET", f"/v1/jobs/{job_id}"))["received"] < received:
            assert time.monotonic() < deadline, job
            time.sleep(0.01)
        return job

    def until_over(self, job_id: str) -> Any:
        """Wait until a job is over."""
        deadline = time.monotonic() + IN_TIME
        while (job := self.ask("GET", f"/v1/jobs/{job_id}"))["finished_at"] is None:
            assert time.monotonic() < deadline, job
            time.sleep(0.01)
        return job


@contextlib.contextmanager
def serve(cli: Command, *options: str, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    with cli.start("serve", *(options or ("--port", "0"))) as running:
        yield Server(running, context)


# Where


def test_p02_it_prints_its_address_in_one_line_and_nothing_else(cli: Command) -> None:
    with serve(cli) as server:
        assert (server.scheme, server.host) == ("http", "127.0.0.1")
        assert server.ask("GET", "/v1/jobs") == {"jobs": []}
        result = server.running.interrupt(signal.SIGTERM)
    assert len(result.lines) == 1
    assert result.err == ""


def test_p13_each_start_generates_a_new_token_of_256_bits(cli: Command) -> None:
    with serve(cli) as one, serve(cli) as two:
        assert one.token != two.token
        assert len(one.token) * 6 >= 256
        assert one.ask("GET", "/v1/jobs", token=two.token)["error"]["code"] == "bad_token"


GIVEN = "a-token-of-our-own"


@pytest.mark.parametrize("way", ["flag", "environment"])
def test_a_token_may_be_given(cli: Command, way: str) -> None:
    options = ["--port", "0", *(["--token", GIVEN] if way == "flag" else [])]
    if way == "environment":
        cli.environment["MODELFETCH_SERVE_TOKEN"] = GIVEN
    with serve(cli, *options) as server:
        assert server.token == GIVEN
        assert server.ask("GET", "/v1/jobs") == {"jobs": []}


def test_p16_the_token_is_in_no_log(cli: Command) -> None:
    with serve(cli) as server:
        server.ask("GET", "/v1/jobs")
        server.ask("GET", f"/v1/jobs?token={server.token}", token="wrong")
        result = server.running.interrupt(signal.SIGTERM)
    assert server.token not in result.err


def test_p01_it_listens_on_loopback_by_default(cli: Command) -> None:
    with serve(cli) as server, socket.socket() as elsewhere:
        elsewhere.settimeout(0.5)
        with pytest.raises(OSError):
            elsewhere.connect(("127.0.0.2", server.port))


def test_p03_listening_beyond_loopback_needs_an_option_and_prints_a_note(cli: Command) -> None:
    with serve(cli, "--port", "0", "--host", "0.0.0.0") as server:
        assert server.host == "127.0.0.1"
        assert server.running.err.splitlines() == [
            f"note: other machines can connect to 0.0.0.0, port {server.port}, with the token",
            "note: the token is sent unencrypted; use --cert and --key for TLS",
        ]
        assert server.ask("GET", "/v1/jobs") == {"jobs": []}


def test_a_port_in_use_gives_one_line(cli: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = cli("serve", "--port", str(port))
    assert_fails(result, 2, f"cannot listen on '127.0.0.1', port {port}: address already in use", "--port")
    assert result.out == ""
    assert len(result.err.splitlines()) == 2


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EADDRINUSE, "Stop the program that listens there"),
        (errno.EADDRNOTAVAIL, "--host is a name or an address of this machine"),
        (errno.EINVAL, "fe80::1%eth0"),
        (errno.EACCES, "--port from 1024 on"),
    ],
)
def test_the_advice_fits_the_reason_why_it_cannot_listen(number: int, words: str) -> None:
    error = cannot_listen("h", 80, OSError(number, os.strerror(number)))
    assert error.message == f"cannot listen on 'h', port 80: {os.strerror(number).lower()}"
    assert words in error.hint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", ""], "--host is empty"),
        (["--host", "no-such-host.invalid"], "cannot listen on 'no-such-host.invalid'"),
        (["--host", "no-such-host.invalid"], "--host is a name or an address of this machine"),
        (["--host", "a..b"], "cannot listen on 'a..b', port 0: no valid host name"),
        (["--host", "192.0.2.77"], "--host is a name or an address of this machine"),
        (["--token", "with space"], "cannot be sent"),
        (["--token", "tökén"], "cannot be sent"),
        (["--cert", "x.pem"], "both --cert and --key"),
        (["--cert", "x.pem", "--key", "y.pem"], "no such file"),
    ],
)
def test_invalid_options_are_reported_before_it_listens(cli: Command, options: list[str], words: str) -> None:
    result = cli("serve", "--port", "0", *options)
    assert_fails(result, 2)
    assert words in result.err.lower()
    assert result.out == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_lookup_of_the_host_at_once(cli: Command, number: int, code: int) -> None:
    """Like one at a name server that is down, the lookup waits in C code, which no signal ends."""
    bend(
        cli,
        """\
import ctypes, socket, sys

def wait_for_ever(*_args, **_options):
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(256)
    libc.pthread_mutex_lock(mutex)
    print("looking up", file=sys.stderr, flush=True)
    libc.pthread_mutex_lock(mutex)

socket.getaddrinfo = wait_for_ever
""",
    )
    with cli.start("serve", "--port", "0", "--host", "nas.example") as running:
        running.until_stderr_has("looking up")
        result = running.interrupt(number)
    assert result.code == code
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("stdout", "code", "words"),
    [("no reader", 141, ""), ("full", 7, "error: cannot write to standard output: ")],
)
def test_it_ends_if_its_address_cannot_be_printed(cli: Command, stdout: str, code: int, words: str) -> None:
    """No client could connect; a pipe without a reader is reported by the code alone, as for any command."""
    if stdout == "full" and not Path("/dev/full").exists():
        pytest.skip("this system has no full device")
    reading, writing = os.pipe()
    os.close(reading)
    with open("/dev/full" if stdout == "full" else writing, "wb") as out:
        done = subprocess.run(
            cli.line("serve", "--port", "0"),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            env=cli.environment,
            cwd=cli.work,
            timeout=IN_TIME,
            check=False,
        )
    if stdout == "full":
        os.close(writing)
    err = done.stderr.decode()
    assert (done.returncode, err.startswith(words), bool(err)) == (code, True, bool(words))


def test_an_invalid_setting_is_reported_before_it_listens(cli: Command) -> None:
    result = cli("serve", "--port", "0", MODELFETCH_SERVE_JOBS="0")
    assert result.code == 2
    assert "MODELFETCH_SERVE_JOBS" in result.err


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "sse_starlette"])
def test_without_the_extra_it_prints_how_to_install_it(cli: Command, tmp_path: Path, package: str) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / f"{package}.py").write_text(f"raise ModuleNotFoundError('no', name='{package}')\n")
    path = f"{hidden}:{cli.environment['PYTHONPATH']}"
    result = cli("serve", PYTHONPATH=path)
    assert_fails(result, 2, f"the server needs {package}", "pip install 'modelfetch[serve]'")
    assert cli("list", PYTHONPATH=path).code == 0


# TLS


def test_with_a_certificate_it_uses_tls(cli: Command, tmp_path: Path) -> None:
    authority = Authority()
    cert, key = authority.issue(tmp_path)
    context = authority.client()
    options = ("--port", "0", "--cert", str(cert), "--key", str(key))
    with serve(cli, *options, context=context) as server:
        assert server.scheme == "https"
        assert server.ask("GET", "/v1/jobs") == {"jobs": []}
        with socket.create_connection(("127.0.0.1", server.port), IN_TIME) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert b"HTTP" not in plain.recv(1000)


def test_a_key_of_another_certificate_is_refused(cli: Command, tmp_path: Path) -> None:
    authority = trustme.CA()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(authority.issue_cert("localhost").cert_chain_pems[0].bytes())
    key.write_bytes(authority.issue_cert("localhost").private_key_pem.bytes())
    result = cli("serve", "--port", "0", "--cert", str(cert), "--key", str(key))
    assert_fails(result, 2, "cannot be used")


# The end


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_p04_a_signal_ends_it_cleanly_in_the_middle_of_a_job(cli: Command, number: int, code: int) -> None:
    """SIGHUP is what a closed terminal sends: the server does not outlive it."""
    end_patiently(cli)
    cli.environment |= PATIENT
    with Origin() as origin:
        served = cli.serve(model(origin, {"a.bin": 4 * MIB}, catalog=cli.catalog))
        origin.fault("a.bin", faults.stall(2 * MIB), times=1)
        with serve(cli) as server:
            job_id = server.submit()
            had = server.until(job_id, MIB)["received"]
            result = server.running.interrupt(number)
        assert (result.code, result.err) == (code, "")
        assert result.seconds < IN_TIME
        origin.forget()
        with serve(cli) as server:
            assert server.ask("GET", f"/v1/jobs/{job_id}")["status"] == "cancelled"
            retried = server.ask("POST", f"/v1/jobs/{job_id}/retry")["job_id"]
            assert server.until_over(retried)["status"] == "completed"
        assert origin.bytes_sent <= served.size - had
        assert cli.has(served)


def test_after_kill_9_in_the_middle_a_retry_fetches_the_other_half(cli: Command) -> None:
    cli.environment |= PATIENT
    with Origin() as origin:
        served = cli.serve(model(origin, {"a.bin": 16 * MIB}, catalog=cli.catalog))
        origin.fault("a.bin", faults.stall(9 * MIB), times=1)
        with serve(cli) as server:
            job_id = server.submit()
            server.until(job_id, 8 * MIB)
            killed = server.running.interrupt(signal.SIGKILL)
        assert killed.code == -signal.SIGKILL
        origin.forget()
        with serve(cli) as server:
            job = server.ask("GET", f"/v1/jobs/{job_id}")
            assert (job["status"], job["error"]["code"]) == ("failed", "interrupted")
            stream = server.ask("GET", f"/v1/jobs/{job_id}/stream")
            assert stream.endswith("data: [ERROR] the server was stopped while this job ran\n\n")
            retried = server.ask("POST", f"/v1/jobs/{job_id}/retry")["job_id"]
            job = server.until_over(retried)
            assert (job["status"], job["retry_of"]) == ("completed", job_id)
        assert origin.bytes_sent <= 0.55 * served.size
        assert job["fetched"] == origin.bytes_sent
        assert cli.has(served)


def shows_how_far(err: str, job_id: str) -> bool:
    waits = [line for line in err.splitlines() if f"waiting for {job_id} (process " in line]
    return any(re.search(r": \d+% \([\d.]+ MB / 4\.19 MB\)", line) for line in waits)


def test_a_command_waits_for_a_job_and_shows_how_far_it_is(cli: Command) -> None:
    cli.environment |= PATIENT
    release = threading.Event()
    with Origin() as origin:
        served = cli.serve(model(origin, {"a.bin": 4 * MIB}, catalog=cli.catalog))
        origin.fault("a.bin", faults.stall(2 * MIB, until=release), times=1)
        with serve(cli) as server:
            job_id = server.submit()
            lock = Store(cli.cache).lock_model("m")
            until(lambda: lock.progress()[0] >= MIB, "the note of the job on its progress")
            with cli.start("ensure", "m") as command:
                command.until(lambda running: shows_how_far(running.err, job_id))
                release.set()
                result = command.finish()
            assert result.code == 0, result.err
            assert server.until_over(job_id)["status"] == "completed"
        assert result.lines == [str(cli.directory(served))]
        assert origin.bytes_sent == served.size


def test_the_port_is_free_again_at_once(cli: Command) -> None:
    with serve(cli) as server:
        server.ask("GET", "/v1/jobs")
        port = str(server.port)
        server.running.interrupt(signal.SIGTERM)
    with serve(cli, "--port", port) as server:
        assert str(server.port) == port


def test_a_cache_that_is_a_file_is_reported_before_it_listens(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = cli("serve", "--port", "0", "--share", "--cache-dir", str(tmp_path / "file"))
    assert_fails(result, 7, "is not a directory")


class ReadOnlyDisk(Disk):
    """A disk of which each directory is read-only."""

    def why_not_writable(self, path: Path) -> int:
        return errno.EROFS


def test_a_read_only_cache_is_shared_with_a_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StoreError, match="read-only"):
        check_cache(Store(tmp_path / "absent", disk=ReadOnlyDisk()))
    check_cache(Store(tmp_path, disk=ReadOnlyDisk()))
    assert "nothing can be fetched" in caplog.text
    assert "read-only" in caplog.text
