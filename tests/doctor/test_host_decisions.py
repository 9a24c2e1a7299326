"""What is decided on facts of a host that no server of these tests leads to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modelfetch.doctor.findings import Finding, State
from modelfetch.doctor.host_checks import SPEED_BYTES, read_sample
from modelfetch.doctor.host_findings import HostReport, Sample, host_findings
from modelfetch.errors import Fault, SourceError
from modelfetch.model.manifest import FileSpec
from modelfetch.net.certificate import Certificate
from modelfetch.net.host_layers import HostFacts, Layer
from tests.engine.fakes import Answer, FakeClock, FakeOffer, body, spec

NOW = datetime.now(UTC)
PASSED = HostFacts(
    "https://models.example/",
    addresses=("192.0.2.1", "2001:db8::1"),
    families=("IPv4", "IPv6"),
    peer="192.0.2.1",
    tls_version="TLSv1.3",
    status=200,
    date=NOW,
    at=NOW,
)


def decide(facts: HostFacts = PASSED, sample: Sample | None = None) -> dict[str, Finding]:
    found = host_findings(HostReport("models.example", ("mirror",), facts, sample))
    return {finding.check: finding for finding in found}


def certificate(days: float, begun: float = 100.0, issuer: str = "Example CA") -> Certificate:
    return Certificate(issuer, "models.example", NOW - timedelta(begun), NOW + timedelta(days))


@pytest.mark.parametrize(
    ("days", "state"), [(90, State.OK), (2, State.OK), (0.9, State.WARNING), (0.1, State.WARNING)]
)
def test_a_certificate_that_ends_soon_is_a_warning(days: float, state: State) -> None:
    found = decide(replace(PASSED, certificate=certificate(days)))
    assert found["tls"].state is state
    assert found["http"].state is State.OK


def test_the_clock_may_be_why_a_certificate_is_refused() -> None:
    refused = replace(PASSED, status=None, failed=Layer.TLS, error="certificate refused")
    early = decide(replace(refused, certificate=certificate(90, begun=-3)))["tls"]
    late = decide(replace(refused, certificate=certificate(-3)))["tls"]
    other = decide(refused)["tls"]
    assert "clock says" in early.hint
    assert "renew its certificate" in late.hint
    assert other.hint
    unnamed = decide(replace(refused, certificate=certificate(9, issuer="")))["tls"]
    assert "issued by an unnamed authority" in unnamed.message


def test_both_families_are_named() -> None:
    assert decide()["dns"].message == "2 addresses (IPv4, IPv6)"


def test_a_host_without_a_time() -> None:
    assert decide(replace(PASSED, date=None))["clock"].state is State.SKIPPED


def test_a_redirect_target_that_fails_is_named() -> None:
    error = SourceError(Fault.CONNECT, "cannot resolve host", elsewhere="cdn.example")
    found = decide(sample=Sample("a.bin", 10, error))
    assert found["http"].state is State.FAILURE
    assert "cdn.example" in found["http"].message
    assert found["ranges"].state is found["speed"].state is State.NOT_REACHED


@pytest.mark.parametrize(
    ("received", "seconds", "state"),
    [
        (10_000_000, 2.0, State.OK),
        (150_000, 2.0, State.WARNING),
        (5_000, 0.001, State.OK),
        (0, 2.0, State.FAILURE),
    ],
)
def test_speed(received: int, seconds: float, state: State) -> None:
    sample = Sample("a.bin", 10**9, is_ranged=True, received=received, seconds=seconds)
    assert decide(sample=sample)["speed"].state is state


def test_a_tiny_file_says_nothing_about_ranges() -> None:
    offer = FakeOffer("mirror", "models.example", b"x", ())
    sample = read_sample(offer, spec("a", b"x"))
    assert offer.asked == [0]
    assert decide(sample=sample)["ranges"].state is State.SKIPPED


def test_reading_ends_after_some_time() -> None:
    """Two seconds by a clock that goes on with each piece."""
    clock = FakeClock()

    def tick() -> None:
        clock.now += 0.5

    content = body(100_000)
    offer = FakeOffer("mirror", "models.example", content, [Answer(piece=1000, before_piece=tick)])
    sample = read_sample(offer, spec("a", content), clock)
    assert (sample.received, sample.seconds) == (4000, 2.0)
    assert offer.streams[0].is_closed


def test_reading_ends_after_some_bytes() -> None:
    content = bytes(SPEED_BYTES + 3_000_000)
    offer = FakeOffer("mirror", "models.example", content, [Answer(piece=1 << 20)])
    sample = read_sample(offer, FileSpec("a", len(content), "0" * 64), FakeClock())
    assert SPEED_BYTES <= sample.received < SPEED_BYTES + (2 << 20)


def test_a_source_that_fails_in_the_middle() -> None:
    error = SourceError(Fault.STALL, "stalled: no data in time")
    content = body(10_000)
    offer = FakeOffer("mirror", "models.example", content, [Answer(until=5000, error=error)])
    found = decide(sample=read_sample(offer, spec("a", content)))
    assert "stalled" in found["http"].message
