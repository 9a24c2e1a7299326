"""The command line as a client of a running server: the same faces, the same exit codes, no cut felt."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from modelfetch.engine.events import ErrorInfo, Event, ModelReady, RunFinished, RunStarted
from modelfetch.remote import Address, ServerClient
from tests.e2e.command import (
    Command,
    Result,
    Running,
    assert_fails,
    bend,
    end_patiently,
    keep_all,
    noted,
)
from tests.e2e.ports import lasting_ports
from tests.e2e.relay import Relay
from tests.e2e.terminal import on_terminal
from tests.hubs.huggingface import HuggingFaceHub
from tests.origin import Origin, ServedModel, faults, model
from tests.patience import HELD, IN_TIME, PATIENT
from tests.remote.scripted import (
    DONE,
    Script,
    document,
    frames,
    records_of,
    refusal,
    serving,
    snapshot,
    stream,
)

pytestmark = pytest.mark.slow  # real processes, one after the other

MIB = 1 << 20
SLOW = MIB / 8
"""Bytes per second and connection of what takes minutes."""
SMALL = 1000
TOKEN = "token-of-the-tests"


class House:
    """A server with a home of its own, and a client with another one."""

    def __init__(self, tmp_path: Path) -> None:
        self.server = Command(tmp_path / "server")
        self.client = Command(tmp_path / "client")
        self.client.environment["MODELFETCH_CATALOG"] = ""
        self.url = ""
        [self.port] = lasting_ports(1)

    @contextmanager
    def open(self) -> Iterator[Running]:
        """Run the server, each time at the same port; it knows the models that were served before."""
        with self.server.start("serve", "--port", f"{self.port}", "--token", TOKEN) as running:
            running.until(lambda running: "\n" in running.out)
            self.url = running.out.strip()
            self.client.environment["MODELFETCH_SERVER"] = self.url
            self.process = running.process
            yield running

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """What the server knows, the newest first."""
        with closing(ServerClient(Address(self.url.partition("/#")[0], TOKEN))) as server:
            found: list[dict[str, Any]] = server.jobs_document()["jobs"]
            return found

    def until(self, status: str) -> str:
        """Wait until the newest job is that far; gives its id."""
        deadline = time.monotonic() + IN_TIME
        while not (jobs := self.jobs) or jobs[0]["status"] != status:
            assert time.monotonic() < deadline, jobs
            time.sleep(0.02)
        return str(jobs[0]["job_id"])

    def ensure(self, *names: str) -> list[str]:
        return ["ensure", *names, "--server", self.url]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@contextmanager
def slow(house: House, size: int = 64 * MIB, *, pace: float = SLOW) -> Iterator[tuple[Origin, ServedModel]]:
    """A model that takes longer than any test unless it is ended before, and the server for it."""
    house.server.environment |= PATIENT
    with Origin(pace=pace) as origin:
        files = {"big.bin": size, "small.bin": SMALL}
        served = house.server.serve(model(origin, files, catalog=house.server.catalog))
        with house.open():
            yield origin, served


@contextmanager
def held(house: House, size: int, at: int) -> Iterator[tuple[Origin, ServedModel, threading.Event]]:
    """A model whose large file stays at so many bytes until the event is set, and the server for it."""
    release = threading.Event()
    with slow(house, size, pace=16 * MIB) as (origin, served):
        origin.fault("big.bin", faults.stall(at, until=release), times=1)
        yield origin, served, release


def wait_for_what_is_cancelled(house: House) -> None:
    """Let the client wait for the end of a job that it cancels, for as long as a loaded machine takes."""
    modules = "from modelfetch.remote import client, remote_run"
    bend(house.client, f"{modules}\nclient.CANCEL_SECONDS = remote_run.LEAVE_SECONDS = {HELD}")


@pytest.fixture
def served(house: House) -> Iterator[ServedModel]:
    """A model that takes a second, and the server for it."""
    with slow(house, 4 * MIB, pace=4 * MIB) as (_, served):
        yield served


def received(running: Running) -> int:
    lines = [line for line in running.out.splitlines() if '"received":' in line]
    return int(lines[-1].partition('"received":')[2].partition(",")[0]) if lines else 0


def in_the_middle(running: Running) -> bool:
    """Whether a run with --json, or one in plain lines, has a part of the large file.

    The first of those lines are written after two seconds of the run.
    """
    return received(running) > SMALL or "to fetch" in running.err


def facts(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record for record in records if record["event"] != "progress"]


def test_a_server_fetches_and_this_machine_stays_empty(house: House, served: ServedModel) -> None:
    result = house.client(*house.ensure("m"))
    assert (result.code, result.lines) == (0, [str(house.server.directory(served))]), result.err
    assert result.stderr_lines("m is ready")
    assert house.server.has(served)
    assert not house.client.cache.exists()


def test_a_reference_is_pinned_on_the_server(house: House) -> None:
    with HuggingFaceHub() as hub:
        hub.add("org/repo", {"a.bin": b"weights"})
        house.server.environment |= {"HF_ENDPOINT": hub.endpoint, "MODELFETCH_CATALOG": ""}
        with house.open():
            first, again = (house.client(*house.ensure("hf:org/repo")) for _ in range(2))
    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert "pinned hf:org/repo as repo on the server" in first.err
    assert "pinned" not in again.err
    assert (Path(first.out.strip()) / "a.bin").read_bytes() == b"weights"
    assert again.out == first.out


def test_the_bars_are_those_of_a_run_here(house: House) -> None:
    rows = [re.compile(r"big\.bin +━.* \d+% .*MB.* \d.*[kM]B/s .*ETA"), re.compile("of 2 files +━")]
    with slow(house, 32 * MIB, pace=MIB) as (origin, served):

        def has_bars(picture: str) -> bool:
            return all(row.search(picture) for row in rows)

        def hurry(picture: str) -> None:
            if has_bars(picture):
                origin.pace = None

        shown = on_terminal(house.client, *house.ensure("m"), columns=100, watch=hurry)
    assert (shown.code, shown.out) == (0, f"{house.server.directory(served)}\n"), shown.written
    assert shown.screen.has_cursor
    assert shown.screen.lost == 0
    assert any(has_bars("\n".join(frame)) for frame in shown.frames), shown.frames
    assert "m is ready · 33.6 MB" in " ".join(shown.screen.text)


def test_several_models_are_followed_together(house: House) -> None:
    house.server.environment |= PATIENT
    with Origin(pace=SLOW) as origin:
        catalog = house.server.catalog
        files = {name: {f"{name}.bin": 64 * MIB} for name in ("one", "two")}
        models = [model(origin, files[name], name=name, catalog=catalog) for name in files]
        house.server.serve(models[0])

        def has_bars(picture: str) -> bool:
            return all(text in picture for text in ("one/one.bin", "two/two.bin", "of 2 files"))

        def hurry(picture: str) -> None:
            if has_bars(picture):
                origin.pace = None

        with house.open():
            shown = on_terminal(house.client, *house.ensure("two", "one", "two"), columns=100, watch=hurry)
    assert shown.code == 0, shown.written
    assert shown.out.splitlines() == [str(house.server.directory(each)) for each in reversed(models)]
    assert any(has_bars("\n".join(frame)) for frame in shown.frames), shown.frames


def test_json_is_what_the_server_says(house: House, served: ServedModel) -> None:
    result = house.client(*house.ensure("m"), "--json")
    assert (result.code, result.err) == (0, "")
    records = result.records
    assert [record["n"] for record in records] == list(range(len(records)))
    assert records[0]["human"] == "🔍 Looking for model: m"
    assert records[-1]["human"] == "✅ Download complete"
    assert [record["event"] for record in records].count("run_finished") == 1
    assert result.out.isascii()


def test_a_second_submit_joins_and_a_third_attaches(house: House) -> None:
    with (
        held(house, 12 * MIB, 2 * MIB) as (_, _, release),
        house.client.start(*house.ensure("m"), "--json") as first,
    ):
        first.until(in_the_middle)
        with (
            house.client.start(*house.ensure("m"), "--json") as second,
            house.client.start("attach", house.until("running")[:10], "--json") as third,
        ):
            for follower in (second, third):
                follower.until(in_the_middle)
            release.set()
            results = [running.finish() for running in (first, second, third)]
        assert [result.code for result in results] == [0, 0, 0], [result.err for result in results]
        one, two, three = (result.records for result in results)
        assert facts(one) == facts(two) == facts(three)
        assert len(house.jobs) == 1


def streams(relay: Relay) -> list[str]:
    """The requests for the events of a job, one for each connection."""
    return [head for head in relay.requests if "/stream" in head]


@pytest.mark.parametrize("cuts", [1, 4])
def test_a_cut_is_not_felt(house: House, cuts: int) -> None:
    with (
        held(house, 8 * MIB, 5 * MIB) as (origin, served, release),
        closing(Relay(house.port)) as relay,
    ):
        url = house.url.replace(str(house.port), str(relay.port))
        with house.client.start("ensure", "m", "--server", url, "--json") as running:
            for cut in range(1, cuts + 1):
                running.until(lambda running, cut=cut: received(running) >= cut * MIB)  # type: ignore[misc]
                running.until(lambda _, cut=cut: len(streams(relay)) == cut)  # type: ignore[misc]
                relay.cut()
            release.set()
            result = running.finish()
        with house.client.start("attach", "job", "--json") as late:
            story = late.finish()
        assert (result.code, result.err) == (0, ""), result.err
        numbers = [record["n"] for record in result.records]
        assert numbers == sorted(set(numbers))
        assert facts(result.records) == facts(story.records)
        heads = streams(relay)
        assert len(heads) == cuts + 1
        assert all("last-event-id" in head.lower() for head in heads[1:])
        assert origin.bytes_sent == served.size


def test_cancel_retry_and_attach(house: House) -> None:
    keep_all(house.server)
    wait_for_what_is_cancelled(house)
    with slow(house) as (origin, served):
        with house.client.start(*house.ensure("m")) as follower:
            follower.until(in_the_middle)
            job = house.until("running")
            cancelled = house.client("cancel", job[:12])
            result = follower.finish()
        assert (cancelled.code, cancelled.out) == (0, "")
        assert cancelled.stderr_lines(f"cancelled {job[:12]} (m)", "the server keeps the data")
        assert (result.code, result.out) == (130, "")
        assert result.err.splitlines()[-1].startswith("cancelled")
        assert not any(path.name == "big.bin" for path in house.server.files("models"))
        kept = house.jobs[0]["received"]
        origin.until(lambda origin: all(request.finished for request in origin.requests))
        assert_fails(house.client("cancel", job), 2, "ended already")
        before, origin.pace = origin.bytes_sent, None
        retried = house.client("retry", job)
        assert retried.code == 0, retried.err
        [new] = retried.lines
        assert new != job
        attached = house.client("attach", new)
        assert (attached.code, attached.lines) == (0, [str(house.server.directory(served))]), attached.err
        assert attached.stderr_lines("m is ready", " of 67.1 MB in ")
        assert origin.bytes_sent - before <= served.size - kept
        assert_fails(house.client("retry", new), 2, "retry")


def test_the_table_of_jobs(house: House) -> None:
    wait_for_what_is_cancelled(house)
    duration = r" +(\d+m )?\d+s"
    row = re.compile(
        rf"job-[0-9a-f]{{8}}  m +fetching +\d+%  +\S+ .B / 67\.1 MB  +\S+ .B/s{duration}{duration}"
    )
    tables: list[list[str]] = []

    def has_figures(_: Running) -> bool:
        """Speed and ETA are not known at first, nor while nothing comes: the machine may stand still."""
        tables.append(house.client("jobs").lines)
        return row.fullmatch(tables[-1][1]) is not None

    with slow(house), house.client.start(*house.ensure("m")) as running:
        running.until(in_the_middle)
        running.until(has_figures)
        running.interrupt()
        over = house.client("jobs")
        document = house.client("jobs", "--json").document
    assert tables[-1][0].split() == ["id", "model", "status", "percent", "size", "speed", "ETA", "age"]
    assert re.fullmatch(
        rf"job-[0-9a-f]{{8}}  m +cancelled +\d+% .* .B / 67\.1 MB +- +-{duration}", over.lines[1]
    )
    assert [job["status"] for job in document["jobs"]] == ["cancelled"]


def test_the_table_of_jobs_says_for_how_long_nothing_came(cli: Command) -> None:
    jobs = {"jobs": [snapshot(speed=None, eta=None, idle=12.4)]}
    with serving(Script({"GET /v1/jobs": [document(jobs)]})) as address:
        table = cli("jobs", "--server", f"{address.base}/#token={address.token}").lines
    assert "  no data for 12 s  " in table[1]


# Leaving


def interrupted(running: Running, ready: Callable[[Running], bool], number: int, times: int = 1) -> Result:
    running.until(ready)
    return running.interrupt(number, times)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_what_this_command_began(house: House, number: int) -> None:
    wait_for_what_is_cancelled(house)
    with slow(house):
        with house.client.start(*house.ensure("m")) as running:
            result = interrupted(running, in_the_middle, number)
        assert (result.code, result.out) == (128 + number, ""), result.err
        assert result.seconds < IN_TIME
        last = result.err.splitlines()[-1]
        assert re.fullmatch(r"cancelled: .* of 67\.1 MB stay on the server; run the same command.*", last)
        assert house.jobs[0]["status"] == "cancelled"
        assert house.server.files("partial") != []


def test_a_server_that_is_asked_to_end_ends_the_command_with_143(house: House) -> None:
    end_patiently(house.server)
    with slow(house), house.client.start(*house.ensure("m"), "--json") as running:
        running.until(in_the_middle)
        house.process.send_signal(signal.SIGTERM)
        result = running.finish()
    last = result.records[-1]
    assert (result.code, last["outcome"], last["exit_code"]) == (143, "cancelled", 143)
    assert "the server was stopped" in last["error"]["message"]


def test_a_signal_ends_json_with_the_servers_own_end(house: House) -> None:
    wait_for_what_is_cancelled(house)
    with slow(house), house.client.start(*house.ensure("m"), "--json") as running:
        result = interrupted(running, in_the_middle, signal.SIGINT)
    assert (result.code, result.err) == (130, "")
    assert (result.records[-1]["event"], result.records[-1]["outcome"]) == ("run_finished", "cancelled")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_only_detaches_from_what_another_began(house: House, number: int) -> None:
    with slow(house), house.client.start(*house.ensure("m")) as owner:
        owner.until(in_the_middle)
        job = house.until("running")
        for arguments in (["attach", job], house.ensure("m")):
            with house.client.start(*arguments) as follower:
                result = interrupted(follower, in_the_middle, number)
            assert (result.code, result.out) == (128 + number, "")
            assert result.seconds < IN_TIME
            expected = f"{job[:12]} continues on the server; modelfetch attach {job[:12]} follows it again"
            assert result.err.splitlines()[-1] == expected
        assert house.jobs[0]["status"] == "running"


def test_a_second_ctrl_c_leaves_at_once_whatever_the_server_does(house: House) -> None:
    with slow(house), house.client.start(*house.ensure("m")) as running:
        running.until(in_the_middle)
        house.process.send_signal(signal.SIGSTOP)
        result = running.interrupt(times=2)
        house.process.send_signal(signal.SIGCONT)
    assert result.code == 130
    assert result.seconds < IN_TIME
    assert "Traceback" not in result.err
    assert "was cancelled but has not ended yet; `modelfetch jobs` shows" in result.err.splitlines()[-1]


def test_a_server_that_does_not_answer_is_left_in_two_seconds(house: House) -> None:
    with slow(house), house.client.start(*house.ensure("m")) as running:
        running.until(in_the_middle)
        house.process.send_signal(signal.SIGSTOP)
        result = running.interrupt()
        house.process.send_signal(signal.SIGCONT)
    assert result.code == 130
    assert 2 <= result.seconds < IN_TIME
    assert "was cancelled but has not ended yet; `modelfetch jobs` shows" in result.err.splitlines()[-1]


# A server that dies


def test_after_kill_9_the_follower_is_told_and_a_retry_resumes(house: House) -> None:
    with Origin(pace=4 * MIB) as origin, ExitStack() as stack:
        house.server.environment |= PATIENT
        served = house.server.serve(model(origin, {"big.bin": 8 * MIB}, catalog=house.server.catalog))
        origin.fault("big.bin", faults.stall(5 * MIB))
        running = stack.enter_context(house.open())
        follower = stack.enter_context(house.client.start(*house.ensure("m")))
        follower.until(in_the_middle)
        follower.until(lambda _: house.jobs[0]["percent"] >= 60)
        follower.until(lambda _: noted(house.server) >= 4 * MIB)
        running.interrupt(signal.SIGKILL)
        before, origin.pace = origin.bytes_sent, None
        origin.heal()
        stack.enter_context(house.open())
        result = follower.finish()
        assert_fails_as_interrupted(result)
        [new] = house.client("retry", house.jobs[0]["job_id"]).lines
        assert house.client("attach", new).code == 0
        assert house.server.has(served)
        assert origin.bytes_sent - before <= 0.55 * served.size


def assert_fails_as_interrupted(result: Result) -> None:
    assert result.code == 143, result.err
    error, hint = result.err.splitlines()[-2:]
    assert "stopped" in error
    assert hint.startswith("  → ")


# Refusals


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server that nothing gets through to."""
    house = House(tmp_path_factory.mktemp("idle"))
    with house.open():
        yield house


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ensure", "whisper-bas", "--server", "{url}"], 3, "Did you mean 'whisper-base'?"),
        (["ensure", "--server", "{url}"], 2, "no model is named"),
        (
            ["ensure", "m", "--server", "{url}", "--to", "x", "--only", "ipfs", "--force"],
            2,
            "--force, --only, --to",
        ),
        (["ensure", "m", "--server", "{url}", "--timeout", "0"], 2, "--timeout"),
        (["ensure", "m", "--token", "x"], 2, "--server"),
        (["ensure", "m", "--server", "127.0.0.1:1"], 2, "http"),
        (["jobs", "--server", "http://127.0.0.1:9/#token=x"], 6, "connection refused"),
        (["jobs", "--token", "wrong-canary"], 9, "the token is missing or wrong"),
        (["attach", "xyz"], 2, "no job 'xyz'"),
        (["cancel", "xyz"], 2, "no job 'xyz'"),
        (["retry", "xyz"], 2, "no job 'xyz'"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else None,
)
def test_refusals_say_what_to_do(idle: House, arguments: list[str], code: int, words: str) -> None:
    result = idle.client(*(argument.format(url=idle.url) for argument in arguments))
    assert_fails(result, code, words)
    assert result.out == ""
    assert TOKEN not in result.err
    assert "canary" not in result.err
    assert idle.jobs == []


def test_a_port_of_something_else_is_no_server(house: House) -> None:
    with Origin() as origin:
        result = house.client("ensure", "m", "--server", f"{origin.endpoint}/#token=x")
    assert_fails(result, 6, "no modelfetch server")


def test_the_models_of_the_project_are_meant_where_none_is_named(house: House, served: ServedModel) -> None:
    (house.client.work / "modelfetch.toml").write_text('models = ["m"]\n')
    result = house.client(*house.ensure())
    assert result.lines == [str(house.server.directory(served))]


def test_a_failure_on_the_server_has_its_exit_code_and_words(house: House) -> None:
    with Origin() as origin:
        origin.fault("*", faults.status(404))
        house.server.serve(model(origin, {"a.bin": 10}, catalog=house.server.catalog))
        with house.open():
            result = house.client(*house.ensure("m"))
            again = house.client("attach", house.jobs[0]["job_id"], "--quiet")
    assert_fails(result, 6, "a.bin", "not found")
    assert (again.code, again.out) == (6, "")
    assert_fails(again, 6, "not found")


def test_a_check_that_is_attached_to_prints_what_is_bad(house: House, served: ServedModel) -> None:
    house.server.prepare("m")
    bad = house.server.directory(served) / "small.bin"
    bad.unlink()
    bad.write_bytes(b"x" * 1000)
    with closing(ServerClient(Address(house.url.partition("/#")[0], TOKEN))) as server:
        job = server.submit("model_verify", "m")
    result = house.client("attach", job.id)
    assert (result.code, result.lines) == (5, ["m\tsmall.bin\thash"]), result.err
    assert "m (verify)" in house.client("jobs").lines[1]


EVIL = "\x1b]0;evil\x07\u202e\r\n"


def test_nothing_a_server_says_steers_the_terminal(house: House) -> None:
    job_id = f"job-{EVIL}"
    path = f"/v1/jobs/{quote(job_id, safe='')}"
    jobs = [snapshot(job_id, model=f"m{EVIL}", phase=f"p{EVIL}", created_at=EVIL)]
    events: list[Event] = [
        RunStarted("ensure", (EVIL,)),
        ModelReady(f"m{EVIL}", EVIL, f"/there{EVIL}", 1, 1, 1),
    ]
    error = ErrorInfo(EVIL, f"wrong{EVIL}", f"hint{EVIL}")
    answers = {
        "GET /v1/jobs": [document({"jobs": jobs})],
        f"GET {path}/stream": [
            stream(frames(records_of([*events, RunFinished("failed", 6, 1, (), error)])), DONE)
        ],
        f"DELETE {path}": [refusal(409, f"evil{EVIL}", f"no{EVIL}", f"hint{EVIL}")],
        f"POST {path}/retry": [document({"job_id": job_id}, 202)],
    }
    house.client.is_checked = False  # the answer to `jobs --json` is printed as it is
    with serving(Script(answers)) as address:
        house.client.environment["MODELFETCH_SERVER"] = f"{address.base}/#token={address.token}"
        calls = (["jobs"], ["attach", "job"], ["cancel", "job"], ["retry", "job"], ["jobs", "--json"])
        results = [house.client(*call) for call in calls]
    assert [result.code for result in results] == [0, 6, 6, 0, 0], [result.err for result in results]
    for result in results:
        assert not {"\x1b", "\x07", "\u202e", "\r"} & {*result.out, *result.err}
    assert results[1].out == "/there]0;evil \n"
