"""The runtime made of settings and options: sources, their order, and limits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine.runtime import Runtime
from modelfetch.engine.setup import Attached, RunOptions, assemble, source_order
from modelfetch.errors import DeadlineError, UsageError
from modelfetch.history import FILE, AttemptRow, History
from modelfetch.model.manifest import FileSpec, HuggingFaceRepo, Manifest
from modelfetch.model.source_kinds import SourceKind
from modelfetch.net.retry import RetryPolicy
from modelfetch.settings import load
from modelfetch.store.layout import Layout
from tests.engine.fakes import Laboratory, body, model, sha256
from tests.history.material import NOW, attempt, failure

KINDS = [kind.value for kind in SourceKind]
CONFIGURED = [kind.value for kind in SourceKind]
CONTENT = body(1000)


def order(
    *,
    configured: Sequence[str] = CONFIGURED,
    prefer: str | None = None,
    only: tuple[str, ...] = (),
    offline: bool = False,
) -> list[str]:
    return source_order(configured, RunOptions(offline, prefer, only), KINDS)


def test_the_configured_order_holds_for_the_kinds_there_are() -> None:
    assert order() == KINDS
    assert order(configured=["url", "huggingface", "later"]) == ["url", "huggingface"]


def test_a_preferred_kind_goes_first_and_the_rest_keep_their_order() -> None:
    assert order(prefer="huggingface") == ["huggingface", *(kind for kind in KINDS if kind != "huggingface")]


def test_a_preferred_kind_need_not_be_configured() -> None:
    assert order(configured=["local"], prefer="url") == ["url", "local"]


def test_only_leaves_out_the_rest() -> None:
    assert order(only=("url", "mirror")) == ["mirror", "url"]
    assert order(only=("url", "mirror"), prefer="url") == ["url", "mirror"]


def test_only_kinds_need_not_be_configured() -> None:
    assert order(configured=["local"], only=("url", "mirror")) == ["url", "mirror"]


def test_offline_leaves_this_disk() -> None:
    assert order(offline=True) == ["local"]
    assert order(offline=True, prefer="url") == ["local"]
    assert order(offline=True, only=("url",)) == []


@pytest.mark.parametrize(("prefer", "only"), [("huggingfase", ()), (None, ("url", "huggingfase"))])
def test_a_word_that_is_no_kind_is_refused_with_a_guess(prefer: str | None, only: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"huggingfase.*Did you mean 'huggingface'") as refused:
        order(prefer=prefer, only=only)
    assert ", ".join(KINDS) in refused.value.hint


# A whole runtime


_OPEN: list[Runtime] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close the runs of a test: a program may listen where a local node would, and so have a connection."""
    yield
    while _OPEN:
        _OPEN.pop().close()


def assembled(tmp_path: Path, options: RunOptions | None = None, **flags: object) -> Runtime:
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    named = {name.replace("__", "."): value for name, value in flags.items()}
    loaded = load(flags={"cache_dir": str(tmp_path / "cache"), **named}, environ=environ, cwd=tmp_path)
    _OPEN.append(assemble(loaded, options or RunOptions(), Cancellation()))
    return _OPEN[-1]


def test_the_limit_of_the_rate_is_one_for_the_whole_process(tmp_path: Path) -> None:
    """Jobs of a server are runs beside each other on one link."""
    one, two = (assembled(tmp_path, network__limit_rate="1M") for _ in range(2))
    assert one.rate is not two.rate
    assert one.allowance is two.allowance


def manifest() -> Manifest:
    file = FileSpec("f.bin", 1000, sha256(CONTENT), urls=("https://u.example/f.bin",))
    return Manifest(
        "m",
        "1",
        (file,),
        huggingface=HuggingFaceRepo("o/r", "a" * 40),
        mirrors=("https://m.example/{path}",),
    )


def offers(runtime: Runtime) -> list[str]:
    wanted = manifest()
    return [f"{offer.kind} {offer.host}" for offer in runtime.offers((wanted, wanted.files[0]))]


def test_settings_reach_the_run(tmp_path: Path) -> None:
    runtime = assembled(
        tmp_path,
        RunOptions(lock_timeout=7.0),
        network__files="3",
        network__limit_rate="8M",
        retry__attempts="2",
        retry__base="0.25",
        retry__cap="4",
        retry__retry_after_cap="20",
    )
    assert runtime.store.root == tmp_path / "cache"
    assert (runtime.files, runtime.limit_rate, runtime.lock_timeout) == (3, 8_000_000, 7.0)
    assert runtime.retry == RetryPolicy(2, 0.25, 4.0, 20.0)
    assert runtime.deadline is None
    runtime.close()


def test_no_swarm_is_used_offline(tmp_path: Path) -> None:
    loaded = load(flags={"cache_dir": str(tmp_path)}, environ={"HOME": str(tmp_path)}, cwd=tmp_path)
    attached = Attached(swarm=_Swarm())
    assert assemble(loaded, RunOptions(), Cancellation(), attached=attached).swarm is attached.swarm
    assert assemble(loaded, RunOptions(offline=True), Cancellation(), attached=attached).swarm is None


class _Swarm:
    def covered(self, jobs: Sequence[Any]) -> frozenset[tuple[str, int]]:
        raise AssertionError(jobs)

    def begin(self, jobs: Sequence[Any]) -> frozenset[tuple[str, int]]:
        raise AssertionError(jobs)

    def file(self, runtime: Any, job: Any) -> None: ...

    def close(self) -> None: ...


def test_sources_offer_in_their_order(tmp_path: Path) -> None:
    assert offers(assembled(tmp_path)) == ["mirror m.example", "huggingface huggingface.co", "url u.example"]
    assert offers(assembled(tmp_path, RunOptions(prefer="url")))[0] == "url u.example"
    assert offers(assembled(tmp_path, RunOptions(only=("huggingface",)))) == ["huggingface huggingface.co"]
    assert offers(assembled(tmp_path, RunOptions(offline=True))) == []


def test_a_time_limit_counts_from_now(tmp_path: Path) -> None:
    runtime = assembled(tmp_path, RunOptions(timeout=60.0))
    assert runtime.deadline == pytest.approx(time.monotonic() + 60.0, abs=5.0)
    runtime.check_deadline("")
    with pytest.raises(DeadlineError) as reached:
        assembled(tmp_path, RunOptions(timeout=0.0)).check_deadline("m: f")
    assert reached.value.message == "m: f: the time limit of 0 s was reached"
    assert "--timeout" in reached.value.hint


def test_a_copy_of_a_runtime_learns_nothing_from_the_other(tmp_path: Path) -> None:
    """What a run works out, and what it changes, is made anew; what the caller gave is the same."""
    runtime = assembled(tmp_path, RunOptions(timeout=60.0))
    runtime.hosts.defer("m.example", 60.0)
    copy = replace(runtime, name="other")
    assert copy.hosts is not runtime.hosts
    assert copy.deadline is not None
    assert copy.allowance is runtime.allowance


def test_a_copy_in_another_model_is_found_on_this_disk(tmp_path: Path) -> None:
    """Its blob may be gone: the placed file still has the bytes."""
    lab = Laboratory(tmp_path / "cache")
    other = model("other", {"same.bin": CONTENT})
    lab.install(other, contents=[CONTENT])
    Layout(lab.store.root).blob(sha256(CONTENT)).unlink()
    runtime = assembled(tmp_path, RunOptions(offline=True))
    assert offers(runtime) == [f"local {lab.store.directory(other)}"]
    assert [event.kind for event in lab.ensure(manifest(), runtime=runtime)][-2:] == [
        "model_ready",
        "run_finished",
    ]
    assert lab.read(manifest(), "f.bin") == CONTENT


def test_the_hugging_face_cache_is_found_on_this_disk(tmp_path: Path) -> None:
    folder = tmp_path / ".cache/huggingface/hub/models--o--r/snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    (folder / "f.bin").write_bytes(CONTENT)
    assert offers(assembled(tmp_path, RunOptions(offline=True))) == [f"local {folder}"]


def test_directories_of_the_settings_are_searched_and_hashed_once(tmp_path: Path) -> None:
    nas = tmp_path / "nas" / "models"
    nas.mkdir(parents=True)
    (nas / "other.bin").write_bytes(CONTENT)
    for expected in (f"local {tmp_path / 'nas'}", f"local {nas}"):  # by size, then by the known digest
        runtime = assembled(tmp_path, RunOptions(offline=True), sources__local=str(tmp_path / "nas"))
        assert offers(runtime) == [expected]
        wanted = manifest()
        [offer] = runtime.offers((wanted, wanted.files[0]))
        with closing(offer.open(0)) as stream:
            assert b"".join(stream) == CONTENT
        runtime.close()


# Health


def mirrored() -> Manifest:
    mirrors = tuple(f"https://{name}.example/{{path}}" for name in "abc")
    return replace(manifest(), mirrors=mirrors)


def asked_first(runtime: Runtime) -> list[str]:
    wanted = mirrored()
    return [f"{offer.kind} {offer.host}" for offer in runtime.offers((wanted, wanted.files[0]))]


def test_within_a_kind_the_healthy_host_goes_first(tmp_path: Path) -> None:
    with History(tmp_path / "cache" / FILE) as history:
        bad = [failure(host="a.example", attempt=n) for n in range(20)]
        history.write(attempts=[*bad, *(attempt(host="c.example", attempt=n) for n in range(5))])
    order = asked_first(assembled(tmp_path))
    assert order.index("mirror c.example") < order.index("mirror a.example")
    assert [label.split()[0] for label in order] == ["mirror", "mirror", "mirror", "huggingface", "url"]


def test_without_a_history_the_order_is_as_listed_and_none_is_begun(tmp_path: Path) -> None:
    assert asked_first(assembled(tmp_path))[:3] == [f"mirror {name}.example" for name in "abc"]
    assert not (tmp_path / "cache" / FILE).exists()


def test_a_damaged_history_costs_nothing_but_its_advice(tmp_path: Path) -> None:
    path = tmp_path / "cache" / FILE
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 100)
    assert asked_first(assembled(tmp_path))[:3] == [f"mirror {name}.example" for name in "abc"]


# What gateways did not have


def gateways_asked(tmp_path: Path, days: str = "30") -> list[str]:
    gateways = "https://g.example,https://h.example"
    runtime = assembled(tmp_path, ipfs__gateways=gateways, history__days=days)
    wanted = replace(manifest(), ipfs_cid="bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354")
    return [offer.host for offer in runtime.offers((wanted, wanted.files[0]))]


def miss(hours: float) -> AttemptRow:
    file = manifest().files[0]
    at = NOW - timedelta(hours=hours)
    return failure(
        "not_found",
        source="ipfs",
        host="g.example",
        model=manifest().name,
        file=file.path,
        size=file.size,
        started_at=at,
    )


@pytest.mark.parametrize(("hours", "is_known"), [(1, True), (23, True), (25, False)])
def test_what_a_gateway_did_not_have_is_remembered_for_a_day(
    tmp_path: Path, hours: float, is_known: bool
) -> None:
    with History(tmp_path / "cache" / FILE) as history:
        history.write(attempts=[miss(hours)])
    asked = gateways_asked(tmp_path)
    assert (asked.index("g.example") == len(asked) - 1) is is_known
    assert asked.index("h.example") < asked.index("huggingface.co")


def test_nothing_is_remembered_where_no_history_is_kept(tmp_path: Path) -> None:
    with History(tmp_path / "cache" / FILE) as history:
        history.write(attempts=[miss(1)])
    asked = gateways_asked(tmp_path, days="0")
    assert asked.index("g.example") < asked.index("huggingface.co")
