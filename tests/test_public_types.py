"""The types of the public surface, as a program that imports it sees them.

The functions are never called: mypy checks them. A line with an ignored error must have that error, because
an ignore without effect is an error itself.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import assert_type

import pytest

import modelfetch
from modelfetch import RunOptions, __version__, ensure, stream, verify
from modelfetch.api import Record, raise_for
from modelfetch.engine.events import FileResult, RunFinished
from modelfetch.engine.state import RunState
from modelfetch.errors import ModelfetchError
from modelfetch.pins.variants import VariantsError


def right_uses(directory: Path) -> None:
    assert_type(__version__, str)
    assert_type(modelfetch.__version__, str)
    assert_type(modelfetch.ensure("m"), Path)
    options = RunOptions(
        offline=True, prefer="mirror", only=("url",), timeout=1, lock_timeout=0.5, connections=2, name="job"
    )
    assert_type(options, RunOptions)
    assert_type(
        ensure(
            "m",
            cache_dir=directory,
            offline=False,
            prefer=None,
            only=["url", "mirror"],
            force=True,
            timeout=600,
            lock_timeout=None,
            progress=True,
        ),
        Path,
    )
    run = stream("m", "n", cache_dir="/srv/models", options=options, force=True)
    assert_type(run, Generator[Record, None, None])
    assert_type(stream(), Generator[Record, None, None])
    run.close()
    results = verify(
        "m", cache_dir=None, quick=True, repair=True, strict=True, options=options, progress=True
    )
    assert_type(results, tuple[FileResult, ...])
    assert_type(verify(strict=True)[0].status in {"completed", "failed"}, bool)


def records(record: Record) -> None:
    assert_type(record.n, int)
    assert_type(record.run, str)
    assert_type(record.state, RunState)
    assert_type(record.state.totals.received, int)
    if record.event.kind == "run_finished":  # the kind tells the types apart
        assert_type(record.event.exit_code, int)
        raise_for(record.event)
    if isinstance(record.event, RunFinished):
        assert_type(record.event.files, tuple[FileResult, ...])


def failures() -> None:
    try:
        ensure("m")
    except VariantsError as error:
        for each in error.variants:
            assert_type((each.label, each.size, each.pattern), tuple[str, int | None, str])
    except ModelfetchError as error:
        assert_type((error.message, error.hint, error.code, error.exit_code), tuple[str, str, str, int])


def wrong_uses(record: Record, options: RunOptions) -> None:
    ensure()  # type: ignore[call-arg]
    ensure("m", "n")  # type: ignore[call-arg]
    ensure(b"m")  # type: ignore[arg-type]
    ensure("m", timeout="60")  # type: ignore[arg-type]
    ensure("m", only=1)  # type: ignore[arg-type]
    ensure("m", options=options)  # type: ignore[call-arg]
    stream(["m"])  # type: ignore[arg-type]
    stream("m", progress=True)  # type: ignore[call-arg]
    stream("m", options={"offline": True})  # type: ignore[arg-type]
    verify("m", repair="yes")  # type: ignore[arg-type]
    verify(fast=True)  # type: ignore[call-arg]
    RunOptions(only=["url"])  # type: ignore[arg-type]
    RunOptions(limit=1)  # type: ignore[call-arg]
    options.offline = True  # type: ignore[misc]
    record.n = 1  # type: ignore[misc]
    raise_for(record.event)  # type: ignore[arg-type]
    modelfetch.fetch("m")  # type: ignore[attr-defined]


def test_every_public_name_and_parameter_is_here() -> None:
    text = Path(__file__).read_text("utf-8")
    for name in modelfetch.__all__:
        found = getattr(modelfetch, name)
        assert name in text
        if callable(found):
            keywords = [
                each.name for each in inspect.signature(found).parameters.values() if "*" not in str(each)
            ]
            assert [each for each in keywords if each not in text] == []


@pytest.mark.slow
def test_options_are_importable_from_the_top_and_only_then_loaded() -> None:
    program = (
        "import sys, modelfetch; assert 'modelfetch.api' not in sys.modules;"
        "from modelfetch import RunOptions; assert 'modelfetch.api' in sys.modules; print(RunOptions().only)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"()\n"
    with pytest.raises(AttributeError, match="fetch"):
        getattr(modelfetch, "fetch")  # noqa: B009 - the checker knows that it is wrong
