"""The same from Python: three functions, the error tree, and no word printed."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modelfetch
from modelfetch import RunOptions
from modelfetch.engine.events import FileCommitted, RunFinished
from modelfetch.errors import (
    AuthorizationError,
    ConfigError,
    DeadlineError,
    IntegrityError,
    ManifestError,
    ModelfetchError,
    OfflineError,
    StoreError,
    UnavailableError,
    UnknownModelError,
    UsageError,
)
from modelfetch.workspace import Workspace
from tests.e2e.command import PATIENCE, Command
from tests.origin import Fault, Origin, ServedModel, faults, model

FILES = {"a.bin": 100_000, "b/c.bin": 10}


@pytest.fixture
def served(
    cli: Command, origin: Origin, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[ServedModel]:
    """A model that this very process knows, in the command's clean environment; nothing may be printed."""
    served = cli.serve(model(origin, FILES, catalog=cli.catalog))
    for name, value in (cli.environment | {"MODELFETCH_RETRY_ATTEMPTS": "1"}).items():
        monkeypatch.setenv(name, value)
    for name in ("CI", "HF_TOKEN", "HF_HOME", "HF_HUB_CACHE", "MODELFETCH_CONFIG", "MODELFETCH_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(cli.work)
    yield served
    assert capfd.readouterr() == ("", "")


def test_ensure_gives_the_directory_and_asks_nobody_the_second_time(
    cli: Command, origin: Origin, served: ServedModel
) -> None:
    directory = modelfetch.ensure("m")
    assert directory == cli.directory(served)
    assert cli.has(served)
    before = len(origin.requests)
    assert modelfetch.ensure("m") == directory
    assert modelfetch.ensure("m", offline=True) == directory
    assert len(origin.requests) == before


def test_progress_is_lines_on_stderr_where_it_is_no_terminal(
    served: ServedModel, capfd: pytest.CaptureFixture[str]
) -> None:
    modelfetch.ensure("m", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "\x1b" not in err
    assert "ready" in err.splitlines()[-1]
    modelfetch.verify("m", options=RunOptions(timeout=60), progress=True)
    out, err = capfd.readouterr()
    assert (out, "2 files" in err) == ("", True)


def test_ensure_takes_a_cache_of_its_own(served: ServedModel, tmp_path: Path) -> None:
    assert modelfetch.ensure("m", cache_dir=tmp_path / "other").is_relative_to(tmp_path / "other")


def test_stream_tells_everything_and_ends_with_the_result(served: ServedModel) -> None:
    records = [(record.n, record.event) for record in modelfetch.stream("m")]
    assert [n for n, _ in records] == list(range(len(records)))
    events = [event for _, event in records]
    assert {event.file for event in events if isinstance(event, FileCommitted)} == set(FILES)
    last = events[-1]
    assert isinstance(last, RunFinished)
    assert (last.outcome, last.exit_code) == ("completed", 0)


def test_stream_tells_a_failure_and_raises_none(origin: Origin, served: ServedModel) -> None:
    origin.fault("*", faults.status(404))
    *_, last = modelfetch.stream("m")
    assert isinstance(last.event, RunFinished)
    assert last.event.error is not None
    assert (last.event.exit_code, last.event.error.code) == (6, "unavailable")


@pytest.mark.usefixtures("served", "keeps_all")
def test_closing_the_stream_cancels_and_keeps_what_came(cli: Command, origin: Origin) -> None:
    model(origin, {"a.bin": 3_000_000}, name="large", catalog=cli.catalog)  # too large to come in a batch
    origin.fault("a.bin", faults.stall(0.5), times=1)
    stream = modelfetch.stream("large")
    for record in stream:
        if record.state.totals.received >= 1_500_000:
            break
    stream.close()
    origin.forget()
    modelfetch.ensure("large")
    assert origin.sent("a.bin") == 1_500_000


def test_verify_gives_every_file_or_raises(cli: Command, origin: Origin, served: ServedModel) -> None:
    directory = modelfetch.ensure("m")
    origin.forget()
    assert {result.status for result in modelfetch.verify("m")} == {"completed"}
    (directory / "b/c.bin").unlink()
    with pytest.raises(IntegrityError, match=r"b/c\.bin: missing"):
        modelfetch.verify()
    assert origin.requests == []
    assert len(modelfetch.verify("m", repair=True)) == len(FILES)
    assert cli.has(served)


ERRORS: dict[str, tuple[Fault, type[ModelfetchError]]] = {
    "wrong bytes": (faults.wrong_bytes(), IntegrityError),
    "nothing": (faults.status(404), UnavailableError),
    "no token": (faults.status(401), AuthorizationError),
}


@pytest.mark.parametrize("name", ERRORS)
def test_ensure_raises_what_went_wrong(origin: Origin, served: ServedModel, name: str) -> None:
    fault, error = ERRORS[name]
    origin.fault("*", fault)
    with pytest.raises(error) as raised:
        modelfetch.ensure("m")
    assert raised.value.hint


def test_the_call_the_catalog_and_the_settings_are_checked_first(
    cli: Command, origin: Origin, served: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownModelError, match="Did you mean"):
        modelfetch.ensure("whisper-bas")
    with pytest.raises(UsageError, match="Did you mean 'mirror'"):
        modelfetch.ensure("m", only=["miror"])
    with pytest.raises(UsageError, match="no model is named"):
        modelfetch.stream()
    (cli.catalog / "bad.toml").write_text("schema = 1\n")
    with pytest.raises(ManifestError) as raised:
        modelfetch.ensure("bad")
    assert len(raised.value.faults) > 1
    monkeypatch.setenv("MODELFETCH_NETWORK_FILES", "none")
    with pytest.raises(ConfigError, match="MODELFETCH_NETWORK_FILES"):
        modelfetch.ensure("m")
    assert origin.requests == []


def test_limits_of_a_run_raise(cli: Command, origin: Origin, served: ServedModel) -> None:
    with pytest.raises(OfflineError):
        modelfetch.ensure("m", offline=True)
    origin.fault("*", faults.stall())
    with pytest.raises(DeadlineError):
        modelfetch.ensure("m", timeout=0.2)
    (cli.home / "file").touch()
    with pytest.raises(StoreError):
        modelfetch.ensure("m", cache_dir=cli.home / "file")


@pytest.mark.slow
def test_ctrl_c_is_a_keyboard_interrupt(cli: Command, origin: Origin) -> None:
    origin.fault("*", faults.stall())
    cli.serve(model(origin, FILES, catalog=cli.catalog))
    program = "import modelfetch\ntry: modelfetch.ensure('m')\nexcept KeyboardInterrupt: print('interrupted')"
    with subprocess.Popen(
        [sys.executable, "-c", program], env=cli.environment, cwd=cli.work, stdout=subprocess.PIPE, text=True
    ) as process:
        origin.until(lambda origin: bool(origin.requests))
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "interrupted\n")


@pytest.mark.slow
def test_a_cancelled_task_ends_the_run_as_the_docs_show(origin: Origin, served: ServedModel) -> None:
    origin.fault("*", faults.stall())
    page = (Path(__file__).parents[2] / "docs/how-to/python.md").read_text("utf-8")
    example = next(
        block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "stop.set" in block
    )
    names: dict[str, Any] = {}
    exec(compile(example, "python.md", "exec"), names)

    async def main() -> None:
        task = asyncio.create_task(names["fetch_async"]("m"))
        await asyncio.to_thread(origin.until, lambda origin: bool(origin.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())  # waits for the thread, so for the end of the run
    with Workspace.open({}).store.lock_model("m") as lock:
        assert lock.try_acquire()
    origin.heal()
    assert asyncio.run(names["fetch_async"]("m")) == modelfetch.ensure("m")
