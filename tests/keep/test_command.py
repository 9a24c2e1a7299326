"""``gc`` as a command, and the upkeep at the end of a run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfetch.keep.upkeep import upkeep
from modelfetch.store import Store
from modelfetch.warm import note_use
from modelfetch.workspace import Workspace
from tests.e2e.command import Command, InProcess, assert_fails
from tests.origin import Origin, model
from tests.store.material import digest, ensure, noise, spec

NOW = time.time()
OLD = NOW - 40 * 86_400
WHOLE = noise(300_000)


@pytest.fixture
def cli(tmp_path: Path) -> InProcess:
    return InProcess(tmp_path)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as server:
        yield server


def fill(cli: Command, *names: str) -> None:
    """Models that were not used for 40 days; their receipts are of a fixed date."""
    store = Store(cli.cache)
    for number, name in enumerate(names):
        manifest = ensure(store, {"a": noise(5000 + number, seed=number)}, name=name)
        os.utime(store.directory(manifest), (OLD, OLD))


def leave(cli: Command, days: float) -> None:
    """Leave an interrupted download and a quarantine entry of some days ago."""
    store = Store(cli.cache)
    with store.partial(spec(WHOLE), exclusive=True) as partial:
        partial.put(0, WHOLE[:200_000], "mirror a")
    for path in (cli.cache / "partial" / digest(WHOLE)).iterdir():
        os.utime(path, (NOW - days * 86_400,) * 2)
    os.utime(cli.cache / "partial" / digest(WHOLE), (NOW - days * 86_400,) * 2)
    wrong = cli.cache / "wrong"
    wrong.write_bytes(b"wrong")
    entry = store.quarantine(wrong, spec(b"right"), actual=digest(b"wrong"), source="mirror a")
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(NOW - days * 86_400))
    entry.rename(entry.with_name(f"{stamp}.000000Z-{digest(b'right')}"))


def there(cli: Command) -> list[str]:
    return sorted(path.name for path in (cli.cache / "models").glob("*/"))


def test_a_dry_run_prints_what_the_run_removes(cli: InProcess) -> None:
    fill(cli, "one", "two")
    dry = cli("gc", "--unused-for", "5d", "--dry-run", "--json").document
    done = cli("gc", "--unused-for", "5d", "--json").document
    assert dry == done | {"dry_run": True}
    assert [each["name"] for each in done["removed"]] == ["one", "two"]
    assert done["freed"] == sum(each["freed"] for each in done["removed"]) > 10_000
    assert there(cli) == []


def test_kept_names_and_projects_below_roots_stay(cli: InProcess) -> None:
    fill(cli, "one", "two", "three", "four")
    project = cli.home / "projects" / ".deep" / "er"
    project.mkdir(parents=True)
    (project / "modelfetch.toml").write_text('models = ["two"]\n')
    (cli.work / "modelfetch.toml").write_text('models = ["three"]\n')
    done = cli("gc", "--unused-for", "5d", "--keep", "one", "--root", cli.home / "projects")
    assert (done.code, there(cli)) == (0, ["one", "three", "two"])
    assert "removed four v1 (not used for " in done.err
    assert done.lines[0].endswith("models/four/v1.json")


def test_an_unreadable_project_or_root_removes_nothing(cli: InProcess) -> None:
    fill(cli, "one")
    project = cli.home / "project"
    project.mkdir()
    (project / "modelfetch.toml").write_text("models = [\n")
    assert_fails(cli("gc", "--unused-for", "5d", "--root", project), 2, "nothing was removed")
    assert_fails(cli("gc", "--unused-for", "5d", "--root", cli.home / "none"), 2, "is not a directory")
    assert_fails(cli("gc", "--unused-for", "5d", "--keep", "on"), 3, "'on'")
    assert_fails(cli("gc", "--unused-for", "soon"), 2, "--unused-for: 'soon' is not a time span")
    assert_fails(cli("gc", "--max-size", "much"), 2, "--max-size: 'much' is not a size")
    assert there(cli) == ["one"]


def test_settings_decide_about_leftovers(cli: InProcess) -> None:
    leave(cli, 5)
    assert cli("gc", "--json").document["removed"] == []
    env = {"MODELFETCH_CACHE_PARTIAL_DAYS": "4", "MODELFETCH_CACHE_QUARANTINE_DAYS": "6"}
    assert [each["kind"] for each in cli("gc", "--json", **env).document["removed"]] == ["partial"]
    env["MODELFETCH_CACHE_QUARANTINE_DAYS"] = "4"
    assert [each["kind"] for each in cli("gc", "--json", **env).document["removed"]] == ["quarantine"]


def test_a_size_that_cannot_be_reached_is_reported(cli: InProcess) -> None:
    fill(cli, "one", "two")
    done = cli("gc", "--max-size", "1", "--keep", "one")
    assert "still larger than --max-size" in done.err
    assert there(cli) == ["one"]


def test_a_run_that_finds_a_model_is_a_use_once_a_day(cli: InProcess, origin: Origin) -> None:
    served = cli.serve(model(origin, {"a.bin": 1000}, name="m", catalog=cli.catalog))
    cli.prepare("m")
    os.utime(cli.directory(served), (OLD, OLD))
    cli("ensure", "m")
    after = cli.directory(served).stat().st_mtime
    assert after > OLD + 39 * 86_400
    os.utime(cli.directory(served), (after - 3600, after - 3600))
    cli("ensure", "m")
    assert cli.directory(served).stat().st_mtime == pytest.approx(after - 3600)


def test_so_is_a_warm_answer_and_links_are_not_followed(tmp_path: Path) -> None:
    directory, link = tmp_path / "directory", tmp_path / "link"
    directory.mkdir()
    os.utime(directory, (OLD, OLD))
    link.symlink_to(directory)
    note_use([str(tmp_path / "none"), str(link)])
    assert directory.stat().st_mtime == OLD
    note_use([str(directory)])
    assert directory.stat().st_mtime > OLD


def test_upkeep_removes_old_leftovers_once_a_day_and_reports_it(cli: InProcess, origin: Origin) -> None:
    cli.serve(model(origin, {"a.bin": 1000}, name="m", catalog=cli.catalog))
    fill(cli, "old")
    leave(cli, 8)
    assert "old" not in cli("ensure", "m", "--quiet").err
    (line,) = [line for line in cli("ensure", "m", "--force").err.splitlines() if "removed" in line]
    assert line.startswith(
        "note: removed 1 old interrupted download and 1 old quarantine entry (4 files): freed "
    )
    leave(cli, 8)
    assert "removed" not in cli("ensure", "m", "--force").err
    assert there(cli) == ["m", "old"]


def test_a_clock_that_was_set_back_does_not_end_the_upkeep(cli: InProcess) -> None:
    ensure(Store(cli.cache), {"a": noise(100)})
    store = Store(cli.cache)
    assert store.begin_upkeep(NOW)
    (mark,) = [path for path in cli.cache.rglob("*upkeep*") if path.is_file()]
    os.utime(mark, (NOW + 1e9, NOW + 1e9))
    assert store.begin_upkeep(NOW + 60)
    assert not store.begin_upkeep(NOW + 3600)


def test_a_large_cache_is_reported_once_a_day(cli: InProcess, origin: Origin) -> None:
    cli.serve(model(origin, {"a.bin": 1000}, name="m", catalog=cli.catalog))
    env = {"MODELFETCH_CACHE_WARN_SIZE": "2 kB"}
    first, second = (cli("ensure", "m", "--force", **env).err for _ in range(2))
    assert "warning: the cache has " in first
    assert "more than cache.warn_size (2.00 kB)" in first
    assert "warning" not in second
    workspace = Workspace.open(environ=cli.environment | env, cwd=cli.work)
    assert len(upkeep(workspace, NOW + 2 * 86_400)) == 1
    none = {"MODELFETCH_CACHE_WARN_SIZE": "0"}
    assert upkeep(Workspace.open(environ=cli.environment | none, cwd=cli.work), NOW + 9 * 86_400) == []


def test_a_cache_that_cannot_be_written_gets_no_upkeep(cli: InProcess) -> None:
    leave(cli, 8)
    (cli.cache / "locks").write_bytes(b"")
    assert upkeep(Workspace.open(environ=cli.environment, cwd=cli.work), NOW) == []
    assert cli.files("partial")
