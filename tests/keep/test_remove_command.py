"""``remove`` with several names or one version, disk space in ``list``, and further names of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfetch.cli.help import ALIASES
from modelfetch.store import Store
from tests.e2e.command import InProcess, assert_fails
from tests.origin import Origin, model
from tests.store.material import ensure, noise

SHARED = noise(30_000, seed=2)


@pytest.fixture
def cli(tmp_path: Path) -> InProcess:
    return InProcess(tmp_path)


def fill(cli: InProcess, *names: str, version: str = "v1") -> None:
    for name in names:
        contents = {"own": noise(5000, seed=len(name) + ord(version[-1])), "shared": SHARED}
        ensure(Store(cli.cache), contents, name=name, version=version)


def test_several_models_go_and_a_dry_run_says_the_same(cli: InProcess) -> None:
    fill(cli, "one", "three", "fifth")
    dry = cli("remove", "one", "three", "one", "--dry-run", "--json").document
    done = cli("rm", "one", "three", "--json").document
    assert done == {
        "removals": [each | {"dry_run": False} for each in dry["removals"]],
        "freed": dry["freed"],
        "dry_run": False,
    }
    assert 5_000 < done["freed"] < 30_000
    fill(cli, "one")
    dry = cli("remove", "one", "fifth", "--dry-run", "--json").document
    done = cli("remove", "one", "fifth", "--json").document
    assert [each["freed"] for each in dry["removals"]] == [each["freed"] for each in done["removals"]]
    assert [each["paths"] for each in dry["removals"]] == [each["paths"] for each in done["removals"]]
    assert cli.files("blobs") == []


def test_nothing_goes_if_a_name_or_version_is_wrong(cli: InProcess) -> None:
    fill(cli, "one")
    assert_fails(cli("remove", "one", "nope"), 3, "nope")
    assert_fails(cli("remove", "one", "--version", "v2"), 2, "no version 'v2' of one", "it has v1")
    assert_fails(cli("remove", "one", "--version", "v1", "--unpin"), 2, "--unpin is for all versions")
    assert_fails(cli("remove"), 2)
    assert (cli.cache / "models/one/v1/own").exists()


def test_one_version_goes(cli: InProcess) -> None:
    fill(cli, "one")
    fill(cli, "one", version="v2")
    assert cli("remove", "one", "--version", "v1", "--json").document["versions"] == ["v1"]
    assert [path.name for path in (cli.cache / "models/one").glob("*.json")] == ["v2.json"]


def test_list_shows_the_disk_space(cli: InProcess) -> None:
    with Origin() as origin:
        cli.serve(model(origin, {"a.bin": 30_000}, name="m", catalog=cli.catalog))
        cli.prepare("m")
    document = cli("ls", "--present", "--size", "--json").document
    (here,) = document["models"]
    assert here["size"] <= here["disk"] <= document["cache"]
    shown = cli("list", "--present", "--size", "--sort", "used")
    assert "on disk" in shown.lines[0]
    assert shown.err.startswith("the cache takes ")
    assert "disk" not in cli("list", "--present", "--json").document["models"][0]


@pytest.mark.quick(every=2)
@pytest.mark.parametrize("alias", ALIASES)
def test_a_further_name_is_the_command_and_not_listed(alias: str, cli: InProcess) -> None:
    assert cli(alias, "--help").out == cli(ALIASES[alias], "--help").out
    assert f"\n  {alias} " not in cli("--help").out
