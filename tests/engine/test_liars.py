"""A server that lies in any form of HTTP is left for an honest one: never a bug, never the end of the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

import pytest

from modelfetch.cancel import Cancellation
from modelfetch.engine.events import FileQuarantined, SourceFailed
from modelfetch.engine.runtime import Runtime
from modelfetch.engine.segments import SplitPolicy
from modelfetch.net.client import Client
from modelfetch.net.time_limits import Limits
from modelfetch.sources.mirror import MirrorSource
from tests.engine.fakes import ALONE, EAGER, Laboratory, body, code, model, of
from tests.origin import Fault, Origin, faults
from tests.patience import IN_TIME

CONTENT = body(600_000)
MODEL = model("m", {"f.bin": CONTENT})
SMALL = {f"{n}.bin": body(400 + n, n) for n in range(34)}
"""Enough for a batch, where there are batches."""

CUT = faults.cut(0.5)
WRONG = faults.wrong_bytes()
LIES = {
    "wrong": WRONG,
    "a byte too long": faults.all_of(WRONG, faults.too_many(1)),
    "endless": faults.all_of(WRONG, faults.too_many(1 << 40)),
    "whole, and wrong": faults.all_of(WRONG, faults.ignored_range(), faults.wrong_bytes("whole")),
    "whole, and endless": faults.all_of(
        faults.ignored_range(), faults.wrong_bytes("whole"), faults.too_many(1 << 40)
    ),
}
FORMS = {
    "with a length": (),
    "chunked": (faults.chunked(),),
    "until it closes": (faults.no_length(),),
    "HTTP/1.0": (faults.http_1_0(),),
}

LIES_IN_FORMS = [
    pytest.param(LIES[lie], FORMS[form], id=f"{lie}, {form}", marks=pytest.mark.slow if number % 3 else ())
    for number, (lie, form) in enumerate(product(LIES, FORMS))
]
"""Every form and every lie comes up in the quick third."""


@contextmanager
def run_of(
    lab: Laboratory, *origins: Origin, split_policy: SplitPolicy = ALONE, stall: float = IN_TIME
) -> Iterator[Runtime]:
    """The runtime of a run that knows some mirrors, and waits ``stall`` seconds for a byte."""
    cancel = Cancellation()
    client = Client(Limits(connect_timeout=IN_TIME, stall_timeout=stall), cancel)
    source = MirrorSource(client, [origin.mirror for origin in origins])
    yield lab.runtime(cancel=cancel, sources=[source], split_policy=split_policy)
    client.close()


@pytest.mark.quick(5)
@pytest.mark.parametrize(
    ("before", "split_policy"),
    [
        pytest.param(None, ALONE, id="at once, one connection"),
        pytest.param(CUT, EAGER, id="after a cut, several"),
        pytest.param(None, EAGER, id="at once, several", marks=pytest.mark.slow),
        pytest.param(CUT, ALONE, id="after a cut, one connection", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(("lie", "form"), LIES_IN_FORMS)
def test_a_liar_is_left_for_an_honest_source(
    lab: Laboratory, lie: Fault, form: tuple[Fault, ...], before: Fault | None, split_policy: SplitPolicy
) -> None:
    with Origin() as liar, Origin() as honest:
        liar.add("f.bin", CONTENT)
        honest.add("f.bin", CONTENT)
        if before is not None:
            liar.fault("f.bin", before, times=1)
        liar.fault("f.bin", faults.all_of(lie, *form))
        with run_of(lab, liar, honest, split_policy=split_policy) as runtime:
            events = lab.ensure(MODEL, runtime=runtime)
    assert code(events) == 0
    assert lab.read(MODEL, "f.bin") == CONTENT
    failed = [event.host for event in of(events, SourceFailed)]
    assert failed.count(f"127.0.0.1:{honest.port}") == 0
    assert failed.count(f"127.0.0.1:{liar.port}") <= 1, "of a mixture nobody may be found out"


@pytest.mark.quick(2)
@pytest.mark.parametrize(("lie", "form"), LIES_IN_FORMS)
def test_a_liar_in_a_batch_is_left_for_an_honest_source(
    lab: Laboratory, lie: Fault, form: tuple[Fault, ...]
) -> None:
    manifest = model("m", SMALL)
    with Origin() as liar, Origin() as honest:
        for path, content in SMALL.items():
            liar.add(path, content)
            honest.add(path, content)
        liar.fault("*", faults.all_of(lie, *form), after=3)
        with run_of(lab, liar, honest) as runtime:
            events = lab.ensure(manifest, runtime=runtime)
    assert code(events) == 0
    assert all(lab.read(manifest, path) == content for path, content in SMALL.items())


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 10], ids=["at once", "later"])
def test_a_silence_is_waited_for_once_and_not_by_every_file(lab: Laboratory, after: int) -> None:
    manifest = model("m", SMALL)
    with Origin() as silent, Origin() as honest:
        for path, content in SMALL.items():
            silent.add(path, content)
            honest.add(path, content)
        silent.fault("*", faults.stall_head(0), after=after)
        with run_of(lab, silent, honest, stall=1.5) as runtime:
            events = lab.ensure(manifest, runtime=runtime)
            asked = len(silent.requests) - after
    assert code(events) == 0
    assert all(lab.read(manifest, path) == content for path, content in SMALL.items())
    # Those that were asking when it was found out, and no more: after good answers that may be all the rest.
    assert asked <= (len(SMALL) - after + runtime.files if after else len(SMALL) // 2)


@pytest.mark.slow
def test_a_batch_goes_round_in_circles_for_one_file_only(lab: Laboratory) -> None:
    """Eleven redirects for each file cost more than the file does."""
    manifest = model("m", SMALL)
    with Origin() as circle, Origin() as honest:
        for path, content in SMALL.items():
            circle.add(path, content)
            honest.add(path, content)
            circle.fault(path, faults.redirect("?again"))
        with run_of(lab, circle, honest) as runtime:
            events = lab.ensure(manifest, runtime=runtime)
        asked = {request.file for request in circle.requests}
    assert code(events) == 0
    assert len(asked) <= 1 + runtime.files


@pytest.mark.parametrize("form", [FORMS[name] for name in FORMS if name != "with a length"])
def test_alone_a_liar_ends_in_an_error_of_integrity(lab: Laboratory, form: tuple[Fault, ...]) -> None:
    with Origin() as liar:
        liar.add("f.bin", CONTENT)
        liar.fault("f.bin", faults.all_of(LIES["endless"], *form))
        with run_of(lab, liar) as runtime:
            events = lab.ensure(MODEL, runtime=runtime)
    assert code(events) == 5
    assert len(of(events, FileQuarantined)) <= 1
    assert not lab.place(MODEL, "f.bin").exists()
