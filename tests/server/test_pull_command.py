"""``modelfetch serve --share --fetch`` as a process."""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.command import Command, assert_fails
from tests.origin import Origin, model
from tests.patience import IN_TIME
from tests.server.test_command import serve

pytestmark = pytest.mark.slow

SHARE = ("--port", "0", "--share")


@pytest.fixture
def cli(tmp_path: Path) -> Command:
    return Command(tmp_path)


def test_it_fetches_a_file_that_a_client_asks_for(tmp_path: Path, cli: Command) -> None:
    content = bytes(range(256)) * 8000
    with Origin() as origin:
        served = model(origin, {"big.bin": content, "other.bin": 1000}, catalog=tmp_path / "catalog")
        cli.environment |= served.environment
        with serve(cli, *SHARE, "--fetch") as server:
            url = f"http://127.0.0.1:{server.port}/m/resolve/main/big.bin"
            for _ in range(2):
                with urllib.request.urlopen(url, timeout=IN_TIME) as response:
                    assert response.read() == content
                    assert response.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
            [job] = server.ask("GET", "/v1/jobs")["jobs"]
            job = server.until_over(job["job_id"])
        assert (job["only"], job["status"]) == (["big.bin"], "completed")
        assert (origin.sent("*big.bin"), origin.sent("*other.bin")) == (len(content), 0)


@pytest.mark.parametrize(
    ("options", "opened"),
    [
        ((), "the models of this cache"),
        (("--fetch",), "the models of this cache, and have it fetch the models of your catalogs"),
        (
            ("--fetch", "--pin-on-demand"),
            "the models of this cache, and have it fetch public models of Hugging Face",
        ),
        (
            ("--fetch", "--pin-on-demand", "--pin-only", "ghcr.io/org/*"),
            "the models of this cache, and have it fetch public models of ghcr.io",
        ),
    ],
)
def test_it_says_what_others_can_do(cli: Command, options: tuple[str, ...], opened: str) -> None:
    with serve(cli, *SHARE, *options, "--host", "0.0.0.0") as server:
        line = f"note: anyone who can connect to 0.0.0.0, port {server.port}, can read {opened}"
        assert line in server.running.err.splitlines()


@pytest.mark.parametrize("options", [("--fetch",), ("--share", "--pin-on-demand"), ("--pin-only", "a/*")])
def test_an_option_without_the_one_it_extends_is_misuse(cli: Command, options: tuple[str, ...]) -> None:
    assert_fails(cli("serve", *options), 2)
