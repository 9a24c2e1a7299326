"""``modelfetch serve --share`` as a process, and a second machine that fetches from it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.e2e.command import Command, assert_fails
from tests.origin import Origin, model
from tests.server.test_command import serve

pytestmark = pytest.mark.slow  # real processes, one after the other

MIB = 1 << 20


@pytest.fixture
def cli(tmp_path: Path) -> Command:
    return Command(tmp_path)


def test_another_cache_is_filled_from_this_one_while_the_origin_is_down(cli: Command, tmp_path: Path) -> None:
    files = {"large.bin": 8 * MIB + 5, "small.json": 300, "empty.txt": 0}
    with Origin() as origin:
        served = cli.serve(model(origin, files, catalog=cli.catalog))
        assert cli("ensure", "m").code == 0
        origin.forget()
        with serve(cli, "--port", "0", "--share") as server:
            other = {
                "MODELFETCH_CACHE_DIR": str(tmp_path / "other"),
                "MODELFETCH_SOURCES_MIRRORS": f"http://127.0.0.1:{server.port}/blobs/sha256/{{sha256}}",
                "MODELFETCH_SOURCES_ORDER": "mirror",
            }
            result = cli("ensure", "m", **other)
            assert result.code == 0, result.err
            assert cli("verify", "m", **other).code == 0
            stopped = server.running.interrupt(signal.SIGTERM)
        assert origin.requests == []
    assert (stopped.code, stopped.err) == (143, "")
    [directory] = result.lines
    assert {path: (Path(directory) / path).stat().st_size for path in files} == files
    assert served.size == sum(files.values())


def test_what_sharing_beyond_this_machine_means_is_printed(cli: Command) -> None:
    with serve(cli, "--port", "0", "--share", "--host", "0.0.0.0") as server:
        first = (
            f"note: anyone who can connect to 0.0.0.0, port {server.port}, can read the models of this cache"
        )
        assert server.running.err.splitlines()[0] == first


def test_on_loopback_nothing_is_printed(cli: Command) -> None:
    with serve(cli, "--port", "0", "--share") as server:
        assert server.ask("GET", "/v1/jobs", token="wrong")["error"]["code"] == "bad_token"
        assert server.running.err == ""


def test_a_name_that_is_none_is_reported_before_it_listens(cli: Command) -> None:
    result = cli("serve", "--port", "0", "--share", "--allow-host", "http://models.lan")
    assert_fails(result, 2, "--allow-host", "is not a host name")
    assert result.out == ""
