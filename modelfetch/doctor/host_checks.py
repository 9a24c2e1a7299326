"""Gathers the facts of hosts: all in parallel, each within time limits.

Each host is reached layer by layer (:mod:`modelfetch.net.host_layers`). If a model is named and a source
offers a file of it there, a part of its largest file is read as ``ensure`` would read it: with redirects,
credentials and ranges. Nothing is stored, and the digest is not verified. For example, a mirror gets one HEAD
for its root and one GET for ``bytes=1-`` of a file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from modelfetch import threads
from modelfetch.cancel import Cancellation
from modelfetch.doctor.host_findings import HostReport, Sample
from modelfetch.engine.known_hosts import known_hosts
from modelfetch.errors import Fault, SourceError
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.source_kinds import SourceKind
from modelfetch.net.client import Client
from modelfetch.net.host_layers import HostFacts, Layer, LayerProbe
from modelfetch.net.probe import Question
from modelfetch.net.time_limits import Limits
from modelfetch.sources.base import SourceContext
from modelfetch.sources.registry import make_sources

if TYPE_CHECKING:
    from threading import Thread

    from modelfetch.model.manifest import FileSpec, Manifest
    from modelfetch.sources.base import Offer
    from modelfetch.workspace import Workspace

HOST_SECONDS: Final = 20.0
"""Time limit for all hosts together, in seconds; a layer that has not answered by then has failed."""
SPEED_SECONDS: Final = 2.0
"""Longest time for which a file is read."""
SPEED_BYTES: Final = 32 << 20
"""Most bytes that are read of a file, so that a fast or metered connection is not loaded for long."""
MOST_HOSTS: Final = 64
"""Hosts that are contacted; a manifest could name thousands, which would all get a request at once."""
_LIMITS: Final = Limits(connect_timeout=5.0, stall_timeout=5.0, min_speed=0.0, direct_from=math.inf)


@dataclass(frozen=True, slots=True)
class Target:
    """A host to contact."""

    host: str
    kinds: tuple[str, ...]
    question: Question
    """Request for the root of its site."""
    offer: Offer | None = None
    """A file of a named model there."""
    manifest: Manifest | None = None
    file: FileSpec | None = None


def targets(workspace: Workspace, manifests: Sequence[Manifest], client: Client) -> list[Target]:
    """Return the hosts of the settings and of some manifests, each once, in the order of their use.

    Kinds of sources that are not in use are left out.
    """
    settings = workspace.loaded.settings
    offers = _offers(workspace, manifests, client)
    found: dict[str, Target] = {}
    for known in known_hosts(settings, manifests, {}):
        if known.question is None or known.position is None:
            continue
        before = found.get(known.host)
        target = before or Target(known.host, (), known.question)
        sample = (None, None, None) if target.offer is not None else offers.get((known.kind, known.host))
        found[known.host] = _joined(target, known.kind, sample or (None, None, None))
    return list(found.values())


_Sampled = tuple["Offer | None", "Manifest | None", "FileSpec | None"]


def _joined(target: Target, kind: str, sample: _Sampled) -> Target:
    kinds = tuple(dict.fromkeys((*target.kinds, kind)))
    if sample[0] is None:
        return replace(target, kinds=kinds)
    return replace(target, kinds=kinds, offer=sample[0], manifest=sample[1], file=sample[2])


def _offers(
    workspace: Workspace, manifests: Sequence[Manifest], client: Client
) -> dict[tuple[str, str], _Sampled]:
    """Return an offer of the largest file of a model, by kind and host; of the first model that has one."""
    context = SourceContext(workspace.loaded, client, workspace.store, Cancellation())
    found: dict[tuple[str, str], _Sampled] = {}
    for kind, source in make_sources(context).items():
        if not SourceKind(kind).needs_network:
            continue
        for manifest in manifests:
            file = max(manifest.files, key=lambda each: each.size)
            for offer in source.offers(manifest, file) if file.size else ():
                found.setdefault((kind, offer.host), (offer, manifest, file))
    return found


def check_hosts(
    workspace: Workspace,
    manifests: Sequence[Manifest],
    *,
    seconds: float = HOST_SECONDS,
    make_probe: Callable[[Cancellation], LayerProbe] = LayerProbe,
) -> tuple[list[HostReport], int]:
    """Contact all hosts, but at most :data:`MOST_HOSTS`.

    Args:
        workspace: With the settings.
        manifests: Models whose hosts are contacted too.
        seconds: Time limit for all hosts together.
        make_probe: Makes the probe; tests replace its resolver.

    Returns:
        A report for each host, and the number of hosts that were left out.
    """
    cancel = Cancellation()
    client = Client(_LIMITS, cancel)
    every = targets(workspace, manifests, client)
    found = every[:MOST_HOSTS]
    probe = make_probe(cancel)
    reports = {
        target.host: HostReport(target.host, target.kinds, _unanswered(target.question.url))
        for target in found
    }
    try:
        _in_parallel([partial(_check, cancel, probe, target, reports) for target in found], seconds)
        return [reports[target.host] for target in found], len(every) - len(found)
    finally:
        cancel.cancel()  # wakes threads that still wait for a host
        probe.close()
        client.close()


def _unanswered(url: str) -> HostFacts:
    """The facts of a host for whose name the look-up has not returned."""
    return HostFacts(url, failed=Layer.DNS, error="no answer in time")


def _in_parallel(works: Sequence[Callable[[], None]], seconds: float) -> None:
    """Run functions in threads; return when all have ended, or after a time."""
    until = time.monotonic() + seconds
    running: list[Thread] = []
    for number, work in enumerate(works):
        if (thread := threads.start(work, f"modelfetch-doctor-{number}")) is not None:
            running.append(thread)
        elif time.monotonic() < until:  # the system allows no more threads
            work()
    for thread in running:
        thread.join(max(0.0, until - time.monotonic()))


def _check(cancel: Cancellation, probe: LayerProbe, target: Target, reports: dict[str, HostReport]) -> None:
    """Contact one host. Its report is replaced with each layer, so that one exists whenever time is up."""

    def report(facts: HostFacts) -> None:
        reports[target.host] = replace(reports[target.host], facts=facts)

    try:
        facts = probe.inspect(target.question, report)
        if facts.failed is None and target.offer is not None and target.file is not None:
            late = SourceError(Fault.TIMEOUT, "no answer in time")
            waiting = Sample(target.file.path, target.file.size, late)
            reports[target.host] = replace(reports[target.host], sample=waiting)
            sample = read_sample(target.offer, target.file)
            reports[target.host] = replace(reports[target.host], sample=sample)
    except Exception:
        # Time is up: the connections were closed, and the report says what was waited for.
        if not cancel.cancelled:
            raise


def read_sample(
    offer: Offer, file: FileSpec, clock: Callable[[], float] = time.monotonic, seconds: float = SPEED_SECONDS
) -> Sample:
    """Read a part of a file.

    It is requested from its second byte on: a server that ignores ranges would answer a request from the
    first byte on in the same way as one that does not.
    """
    sample = Sample(file.path, file.size)
    try:
        stream = offer.open(1 if file.size > 1 else 0)
        try:
            sample = replace(sample, is_ranged=stream.ranged if file.size > 1 else None)
            received, spent = _measured(stream, clock, seconds)
            return replace(sample, received=received, seconds=spent)
        finally:
            stream.close()
    except SourceError as error:
        return replace(sample, error=error)


def _measured(
    pieces: Iterable[bytes | memoryview], clock: Callable[[], float], seconds: float
) -> tuple[int, float]:
    """Read pieces up to a number of bytes or seconds; returns how many, and in which time."""
    began = clock()
    received = 0
    for piece in pieces:
        received += len(piece)
        if received >= SPEED_BYTES or clock() - began >= seconds:
            break
    return received, clock() - began
