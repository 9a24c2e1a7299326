"""One digest that manifests of a run give several sizes: one of them may be right, the others are told so."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from modelfetch.engine.batch import News
from modelfetch.engine.events import Event
from modelfetch.engine.obtain import Mode, Obtained, obtain
from modelfetch.engine.plan import Holdings, Job
from modelfetch.engine.runtime import Runtime
from modelfetch.engine.workers import Done
from modelfetch.errors import IntegrityError, ModelfetchError, StoreError


def obtain_rivals(
    runtime: Runtime, work: Sequence[Job], numbers: Sequence[int], mode: Mode
) -> Generator[Event | News, None, None]:
    """Obtain jobs of one digest and different sizes, one after the other, for they share a lock and a place.

    What was begun comes first: who opens it for another size loses its bytes. Once a size is proven, nobody
    is asked for another one.

    Args:
        runtime: Of the run.
        work: All jobs of the run.
        numbers: Which of them are the rivals.
        mode: Of the run.

    Raises:
        StoreError: The disk refused.
        Cancelled: The run was cancelled.
    """
    proven: Job | None = None
    errors: dict[int, ModelfetchError] = {}
    holdings = Holdings(runtime.store)
    held = {number: max(holdings.of(*place) for place in work[number].places) for number in numbers}
    for number in sorted(numbers, key=lambda number: -held[number]):
        if proven is not None:
            errors[number] = _refuted(work[number], proven)
            continue
        try:
            obtained: Obtained = yield from obtain(runtime, work[number], mode)
        except StoreError:
            raise
        except ModelfetchError as error:
            errors[number] = error
        else:
            proven = work[number]
            yield News(ended=[Done(number, obtained, None)])
    for number, reason in errors.items():
        told = reason if proven is None else _refuted(work[number], proven)
        yield News(ended=[Done(number, None, told)])


def _refuted(job: Job, proven: Job) -> IntegrityError:
    """The error of a manifest whose size is wrong, given the job of one whose size is right."""
    (manifest, file), (other, _) = job.places[0], proven.places[0]
    return IntegrityError(
        f"{manifest.name}: {file.path}: its manifest says {file.size} bytes, but those with this SHA-256 are "
        f"{proven.file.size}, as verified for {other.name}",
        hint=f"Mend size or sha256 in the manifest of {manifest.name}.",
    )
