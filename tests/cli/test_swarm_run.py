"""``ensure --swarm``: when the process stays to upload, and what the option does without a swarm."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelfetch.cli.swarm_run import ALONE_SECONDS, MOST_SECONDS, SILENT_SECONDS, linger
from modelfetch.engine.swarm_session import Session
from modelfetch.engine.swarm_torrents import resolved
from tests.e2e.command import InProcess, assert_fails
from tests.origin import Origin, model


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeSession:
    """A swarm whose figures a test plays."""

    def __init__(self, clock: Clock, play: Callable[[float], tuple[int, int]]) -> None:
        self._clock = clock
        self._play = play
        self.is_active = True
        self.reports = self

    @property
    def uploaded(self) -> int:
        return self._play(self._clock.now)[0]

    @property
    def incomplete_peers(self) -> int:
        return self._play(self._clock.now)[1]


def lingered(
    play: Callable[[float], tuple[int, int]], *, took: float = 10.0, quiet: bool = False, stop: float = 1e9
) -> float:
    """Seconds until the process left."""
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now >= stop:
            raise KeyboardInterrupt

    session: Session = FakeSession(clock, play)  # type: ignore[assignment]
    linger(session, took, quiet=quiet, clock=clock, sleep=sleep)
    return clock.now


def test_a_machine_alone_leaves_after_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    assert lingered(lambda _: (0, 0)) == ALONE_SECONDS
    assert capsys.readouterr().err == ""


def test_it_stays_while_others_take_what_it_sends(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = lingered(lambda now: (int(now * 1000), 3 if now < 20 else 0))
    assert 20 <= seconds <= 22
    assert capsys.readouterr().err == "uploading to 3 incomplete peers; Ctrl-C ends this\n"


def test_it_leaves_when_nothing_is_taken_any_more() -> None:
    assert lingered(lambda now: (int(min(now, 7) * 1000), 3)) == pytest.approx(7 + SILENT_SECONDS, abs=0.6)


def test_it_leaves_after_a_minute_or_as_long_as_the_run_took() -> None:
    assert lingered(lambda now: (int(now * 1000), 3)) == pytest.approx(MOST_SECONDS, abs=0.3)
    assert lingered(lambda now: (int(now * 1000), 3), took=100) == pytest.approx(100, abs=0.3)


def test_ctrl_c_ends_it_at_once_and_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert lingered(lambda now: (int(now * 1000), 3), quiet=True, stop=3) == pytest.approx(3)
    assert capsys.readouterr().err == ""


# The option


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture
def cli(tmp_path: Path, origin: Origin) -> InProcess:
    cli = InProcess(tmp_path / "cli")
    cli.serve(model(origin, {"a.bin": 1000}, catalog=cli.catalog))
    return cli


@pytest.fixture
def without_libtorrent(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "modelfetch.swarm.child_process.find_spec",
        lambda name: None if name == "libtorrent" else find_spec(name),
    )


@pytest.mark.usefixtures("without_libtorrent")
def test_without_libtorrent_the_option_is_a_wrong_call(cli: InProcess) -> None:
    assert_fails(cli("ensure", "m", "--swarm"), 2, "libtorrent", "pip install 'modelfetch[swarm]'")


@pytest.mark.usefixtures("without_libtorrent")
def test_without_libtorrent_the_setting_is_a_note(cli: InProcess) -> None:
    cli.environment["MODELFETCH_SWARM_ENABLED"] = "true"
    done = cli("ensure", "m")
    assert done.code == 0
    assert "note: no swarm: the swarm needs libtorrent" in done.err


@pytest.mark.usefixtures("without_libtorrent")
def test_offline_and_no_swarm_leave_it_out(cli: InProcess) -> None:
    cli.environment["MODELFETCH_SWARM_ENABLED"] = "true"
    assert "swarm" not in cli("ensure", "m", "--no-swarm").err
    assert "swarm" not in cli("ensure", "m", "--swarm", "--offline").err


def test_a_model_without_a_swarm_is_fetched_as_usual_and_named(cli: InProcess) -> None:
    pytest.importorskip("libtorrent")
    done = cli("ensure", "m", "--swarm")
    assert done.code == 0
    assert "note: m has no swarm; `modelfetch swarm publish m` makes its torrent" in done.err


@pytest.mark.slow
def test_a_torrent_that_is_not_beside_its_manifest_is_named(cli: InProcess) -> None:
    pytest.importorskip("libtorrent")
    manifest = cli.catalog / "m.toml"
    manifest.write_text(f'{manifest.read_text()}\n[swarm]\ninfohash = "{"3f" * 32}"\n')
    done = cli("ensure", "m", "--swarm")
    assert done.code == 0
    assert "note: m.torrent is not beside its manifest" in done.err


def test_a_machine_that_cannot_be_resolved_is_named() -> None:
    long = "a" * 64  # more than a label may have, so nothing is asked
    notices: list[str] = []
    assert resolved([f"{long}:6881", "127.0.0.1:6881"], notices.append) == ("127.0.0.1:6881",)
    assert notices == [f"{long}:6881 of swarm.peers is left out: cannot resolve host"]


def test_a_plan_names_the_swarm(cli: InProcess, origin: Origin) -> None:
    manifest = cli.catalog / "m.toml"
    manifest.write_text(f'{manifest.read_text()}\n[swarm]\ninfohash = "{"3f" * 32}"\n')
    line = "m: also from its swarm, which needs the space twice while it fetches"
    assert line not in cli("plan", "m").err
    cli.environment["MODELFETCH_SWARM_ENABLED"] = "true"
    assert line in cli("plan", "m").err
    assert line not in cli("plan", "m", "--offline").err
    assert cli("ensure", "m", "--no-swarm").code == 0
    assert line not in cli("plan", "m").err, "nothing is to be fetched"
