"""A mirror that misbehaves is left for the next source, is named once for each reason, and harms nothing."""

from __future__ import annotations

import pytest

from tests.e2e.command import Command, assert_fails
from tests.origin import Fault, Origin, faults, model, whisper_like

pytestmark = pytest.mark.slow  # real processes, one after the other

IMPATIENT = {"MODELFETCH_RETRY_ATTEMPTS": "2"}
STALL_TIMEOUT = "4"
"""Seconds, which go for the honest source as well: it must answer in time on a busy machine."""

MISDEEDS: dict[str, tuple[Fault, str]] = {
    "wrong bytes": (faults.wrong_bytes(), "wrong bytes"),
    "cut body": (faults.cut(0.5), "cut"),
    "404": (faults.status(404), "not found"),
    "500": (faults.status(500), "internal server error (500)"),
    "login page": (faults.html_login(), "web page"),
    "too many bytes": (faults.too_many(), "bytes"),
    "wrong Content-Range": (faults.wrong_start(7), "a range that was not requested"),
    "429": (faults.status(429, retry_after=60), "too many requests (429)"),
    "stall": (faults.stall(0.3), "stalled"),
}
"""What the mirror does to every request, and the words in which that is told."""


@pytest.mark.parametrize("name", MISDEEDS)
def test_the_next_source_delivers_and_the_failure_is_told_once(
    cli: Command, origin: Origin, name: str
) -> None:
    """Nine files fail in the same way: the first one is told, the others are counted."""
    misdeed, words = MISDEEDS[name]
    with Origin() as mirror:
        mirror.fault("*", misdeed)
        served = cli.serve(whisper_like(origin, shrink=1000, mirrors=[mirror], catalog=cli.catalog))
        stall = {"MODELFETCH_NETWORK_STALL_TIMEOUT": STALL_TIMEOUT} if name == "stall" else {}
        result = cli("ensure", served.name, **IMPATIENT, **stall)
        assert result.code == 0, result.err
        assert result.lines == [str(cli.directory(served))]
        assert cli.has(served)
        assert mirror.requests != []

    lines = result.stderr_lines(f"127.0.0.1:{mirror.port}", words)
    counts = [line for line in lines if "more file" in line]
    assert len([line for line in lines if "fallback: " in line and line not in counts]) == 1
    assert len([line for line in lines if "retry: " in line and line not in counts]) <= 1
    assert len(counts) <= 2, "of the retries and of the fallbacks"

    right = {content.sha256 for content in served.contents.values()}
    assert {path.name for path in cli.files("blobs")} == right
    assert cli.files("partial") == []


def test_a_200_for_a_range_is_used_from_its_first_byte(cli: Command, origin: Origin) -> None:
    """Cut in the middle, then a server that sends whole files only: what we have is skipped."""
    with Origin() as mirror:
        mirror.fault("*", faults.cut(0.5), times=1)
        mirror.fault("*", faults.ignored_range())
        served = cli.serve(model(origin, {"a.bin": 3_000_000}, mirrors=[mirror], catalog=cli.catalog))
        result = cli("ensure", "m")
        assert result.code == 0, result.err
        assert cli.has(served)
        assert result.stderr_lines("retry: ", "cut")
        assert [mirror.requests[0].offset, mirror.requests[-1].offset] == [0, 0]
        assert origin.requests == []


def test_a_short_retry_after_of_the_only_source_is_waited_for(cli: Command, origin: Origin) -> None:
    origin.fault("*", faults.status(429, retry_after=1), times=1)
    cli.serve(model(origin, {"a.bin": 1000}, catalog=cli.catalog))
    result = cli("ensure", "m")
    assert result.code == 0, result.err
    assert result.stderr_lines("retry: ", "too many requests (429)")
    first, second = origin.requests
    assert second.started - first.started >= 1.0


def test_bytes_of_two_sources_that_do_not_fit_together_are_fetched_anew(cli: Command, origin: Origin) -> None:
    """A wrong first half from a mirror that hangs up: the good source is not blamed for it."""
    with Origin() as mirror:
        mirror.fault("*", faults.all_of(faults.wrong_bytes(), faults.cut(0.5)), times=1)
        mirror.fault("*", faults.status(404))
        served = cli.serve(model(origin, {"a.bin": 400_000}, mirrors=[mirror], catalog=cli.catalog))
        result = cli("ensure", "m")
        assert result.code == 0, result.err
        assert cli.has(served)
        assert result.stderr_lines("do not fit together")
        assert [request.offset for request in origin.requests] == [200_000, 0]


NO_SOURCE_LEFT: dict[str, tuple[Fault, Fault, int, str]] = {
    "wrong bytes everywhere": (faults.wrong_bytes(1), faults.wrong_bytes(2), 5, "wrong bytes"),
    "login pages everywhere": (faults.html_login(), faults.html_login(), 5, "login page"),
    "wrong bytes, then 404": (faults.wrong_bytes(), faults.status(404), 5, "wrong bytes"),
    "404 everywhere": (faults.status(404), faults.status(404), 6, "not found"),
}
"""What mirror and origin do, the exit code, and words of the last two lines."""


@pytest.mark.parametrize("name", NO_SOURCE_LEFT)
def test_with_every_source_wrong_nothing_gets_a_final_name(cli: Command, origin: Origin, name: str) -> None:
    mirrors, origins, code, words = NO_SOURCE_LEFT[name]
    with Origin() as mirror:
        mirror.fault("*", mirrors)
        origin.fault("*", origins)
        files = {"a.bin": 20_000, "b/c.bin": 100}
        cli.serve(model(origin, files, mirrors=[mirror], catalog=cli.catalog))
        result = cli("ensure", "m", **IMPATIENT)
    assert_fails(result, code, words, "mirror 127.0.0.1", "huggingface 127.0.0.1")
    assert result.out == ""
    assert cli.files("models") == cli.files("blobs") == []
    kept = [path for path in cli.files("quarantine") if path.name == "data"]
    assert len(kept) == (len(files) if "wrong bytes" in name else 0), "at most one for each file"
