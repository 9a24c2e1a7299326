"""Which source is asked next, and what follows a failure."""

from __future__ import annotations

import threading

import pytest

from modelfetch.engine.candidates import (
    CONNECT_ATTEMPTS,
    FIRST_BYTE,
    MAX_RETRY_WAIT,
    Candidate,
    Candidates,
    Decision,
    Discard,
    Retry,
    Rotate,
    choose,
    decide,
    first_byte_of,
    ready_at,
)
from modelfetch.engine.hosts import Hosts
from modelfetch.errors import Fault, SourceError
from modelfetch.net.retry import RESET_BYTES, RetryPolicy
from tests.engine.fakes import FakeClock, FakeOffer

POLICY = RetryPolicy()
TRANSIENT = [fault for fault in Fault if fault.is_transient]
LASTING = [fault for fault in Fault if not fault.is_transient]


def candidate(host: str = "a.example", rank: int = 0, failures: int = 1, ready: float = 0.0) -> Candidate:
    return Candidate(FakeOffer("mirror", host, b"", ()), rank, failures, ready)


def decision(
    fault: Fault,
    failures: int = 1,
    *,
    retry_after: float | None = None,
    demoted: bool = False,
    alone: bool = False,
    policy: RetryPolicy = POLICY,
) -> Decision:
    error = SourceError(fault, "on purpose", retry_after=retry_after)
    return decide(candidate(failures=failures), error, policy, demoted=demoted, alone=alone)


# Choosing


def test_the_first_in_order_is_asked_first() -> None:
    first, second = candidate("a.example", 0), candidate("b.example", 1)
    assert choose([second, first], Hosts(FakeClock()), 1000.0) is first


def test_a_source_that_may_be_asked_now_goes_before_a_better_one_that_must_wait() -> None:
    resting, ready = candidate("a.example", 0, ready=1003.0), candidate("b.example", 1)
    assert choose([resting, ready], Hosts(FakeClock()), 1000.0) is ready
    assert choose([resting, ready], Hosts(FakeClock()), 1003.0) is resting


def test_when_all_must_wait_the_first_to_be_ready_is_chosen() -> None:
    late, soon = candidate("a.example", 0, ready=1009.0), candidate("b.example", 1, ready=1004.0)
    assert choose([late, soon], Hosts(FakeClock()), 1000.0) is soon


def test_a_wait_that_a_host_asked_for_holds_for_every_file() -> None:
    hosts = Hosts(FakeClock(1000.0))
    hosts.defer("a.example", 60.0)
    parked, other = candidate("a.example", 0), candidate("b.example", 1)
    assert choose([parked, other], hosts, 1000.0) is other
    assert ready_at(parked, hosts) == 1060.0


def test_the_later_of_the_waits_of_source_and_host_holds() -> None:
    hosts = Hosts(FakeClock(1000.0))
    hosts.defer("a.example", 5.0)
    assert ready_at(candidate("a.example", ready=1009.0), hosts) == 1009.0
    assert ready_at(candidate("a.example", ready=1001.0), hosts) == 1005.0


def test_a_host_that_failed_elsewhere_is_asked_last() -> None:
    hosts = Hosts(FakeClock())
    hosts.record_failure("a.example", SourceError(Fault.SERVER, "502"))
    demoted, other = candidate("a.example", 0), candidate("b.example", 7)
    assert choose([demoted, other], hosts, 1000.0) is other
    assert choose([demoted], hosts, 1000.0) is demoted


def test_journals_name_kind_and_host() -> None:
    assert candidate("a.example").label == "mirror a.example"


# Deciding


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("fault", LASTING)
@pytest.mark.parametrize("alone", [True, False])
def test_a_lasting_fault_is_not_retried(fault: Fault, alone: bool) -> None:
    assert decision(fault, alone=alone) == Discard()


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_transient_fault_is_retried(fault: Fault) -> None:
    assert isinstance(decision(fault, alone=True), Retry)


@pytest.mark.parametrize("fault", TRANSIENT)
def test_attempts_are_limited(fault: Fault) -> None:
    assert isinstance(decision(fault, 4, alone=True), Retry)
    assert decision(fault, 5, alone=True) == Discard()


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.TIMEOUT])
def test_after_a_stall_or_timeout_another_source_is_asked_first(fault: Fault) -> None:
    assert isinstance(decision(fault), Rotate)
    assert isinstance(decision(fault, alone=True), Retry)


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.SERVER])
def test_after_a_cut_or_server_error_the_same_source_is_retried(fault: Fault) -> None:
    assert isinstance(decision(fault), Retry)


def test_an_unreachable_host_gets_fewer_attempts_while_others_are_left() -> None:
    assert isinstance(decision(Fault.CONNECT, CONNECT_ATTEMPTS - 1), Retry)
    assert decision(Fault.CONNECT, CONNECT_ATTEMPTS) == Discard()
    assert isinstance(decision(Fault.CONNECT, CONNECT_ATTEMPTS, alone=True), Retry)


def test_fewer_attempts_can_be_configured_than_an_unreachable_host_gets() -> None:
    assert decision(Fault.CONNECT, policy=RetryPolicy(attempts=1)) == Discard()


def test_a_demoted_host_gets_one_attempt_at_a_time_while_others_are_left() -> None:
    assert isinstance(decision(Fault.SERVER, demoted=True), Rotate)
    assert decision(Fault.SERVER, POLICY.attempts, demoted=True) == Discard()
    assert isinstance(decision(Fault.SERVER, demoted=True, alone=True), Retry)


def test_an_unreachable_demoted_host_is_discarded_while_others_are_left() -> None:
    assert decision(Fault.CONNECT, demoted=True) == Discard()
    assert isinstance(decision(Fault.CONNECT, demoted=True, alone=True), Retry)


def test_another_source_is_asked_while_a_server_asks_to_wait() -> None:
    found = decision(Fault.BUSY, retry_after=60.0)
    assert isinstance(found, Rotate)
    assert 60.0 <= found.wait <= 67.0


def test_the_only_source_is_waited_for_as_long_as_it_asks() -> None:
    found = decision(Fault.BUSY, retry_after=60.0, alone=True)
    assert isinstance(found, Retry)
    assert 60.0 <= found.wait <= 67.0


def test_a_wait_that_a_host_asked_another_file_for_holds_here() -> None:
    error = SourceError(Fault.CUT, "on purpose")
    short = decide(candidate(), error, POLICY, demoted=False, alone=False, rest=MAX_RETRY_WAIT - 0.1)
    assert short == Retry(MAX_RETRY_WAIT - 0.1)
    assert decide(candidate(), error, POLICY, demoted=False, alone=False, rest=60.0) == Rotate(60.0)
    assert decide(candidate(), error, POLICY, demoted=False, alone=True, rest=60.0) == Retry(60.0)


@pytest.mark.parametrize("alone", [True, False])
def test_a_server_that_asks_for_too_long_a_wait_is_discarded(alone: bool) -> None:
    assert isinstance(decision(Fault.BUSY, retry_after=300.0, alone=True), Retry)
    assert decision(Fault.BUSY, retry_after=300.5, alone=alone) == Discard()
    assert decision(Fault.BUSY, retry_after=999_999_999_999.0, alone=alone) == Discard()


def test_during_a_long_backoff_another_source_is_asked() -> None:
    patient = RetryPolicy(attempts=99, base=1e9, cap=1e9)
    assert isinstance(
        decision(Fault.CUT, policy=patient), Rotate
    )  # up to 1e9 s, so hardly ever within MAX_RETRY_WAIT
    assert isinstance(decision(Fault.CUT, policy=patient, alone=True), Retry)


def test_the_wait_stays_within_backoff() -> None:
    waits = [found.wait for _ in range(50) if isinstance(found := decision(Fault.CUT), Retry)]
    assert len(waits) == 50
    assert 0.0 <= min(waits) < max(waits) <= POLICY.base < MAX_RETRY_WAIT


# IPFS gateways


def gateway(host: str = "gateway.example", good: int = 0) -> Candidate:
    return Candidate(FakeOffer("ipfs", host, b"", ()), 0, 1, good=good)


def of_gateway(
    fault: Fault, *, alone: bool = False, retry_after: float | None = None, good: int = 0
) -> Decision:
    error = SourceError(fault, "on purpose", retry_after=retry_after)
    return decide(gateway(good=good), error, POLICY, demoted=False, alone=alone)


@pytest.mark.parametrize("fault", [Fault.SERVER, Fault.BUSY, Fault.TIMEOUT, Fault.STALL])
@pytest.mark.parametrize("alone", [False, True])
def test_a_gateway_that_does_not_find_the_file_is_discarded(fault: Fault, alone: bool) -> None:
    assert of_gateway(fault, alone=alone) == Discard()


def test_a_gateway_that_has_the_file_is_asked_again() -> None:
    assert isinstance(of_gateway(Fault.CUT), Retry)
    assert isinstance(of_gateway(Fault.STALL, good=1), Rotate)


def test_a_gateway_with_retry_after_is_retried() -> None:
    assert isinstance(of_gateway(Fault.BUSY, retry_after=2.0), Rotate)
    assert isinstance(of_gateway(Fault.BUSY, retry_after=2.0, alone=True), Retry)


def test_an_unreachable_gateway_is_retried_if_it_is_the_last_source() -> None:
    assert of_gateway(Fault.CONNECT) == Discard()
    assert isinstance(of_gateway(Fault.CONNECT, alone=True), Retry)


def test_a_gateway_has_a_shorter_time_limit_while_another_kind_is_left() -> None:
    first, second, mirror = gateway("a.example"), gateway("b.example"), candidate()
    assert first_byte_of(first, [first, second, mirror]) == FIRST_BYTE
    assert first_byte_of(mirror, [first, second, mirror]) is None
    assert first_byte_of(first, [first, second]) is None


# The owner of the candidates of a file


def three() -> Candidates:
    return Candidates([FakeOffer("mirror", f"{name}.example", b"", ()) for name in "abc"])


def test_candidates_keep_the_order_of_the_offers() -> None:
    assert [(each.offer.host, each.rank) for each in three().remaining()] == [
        ("a.example", 0),
        ("b.example", 1),
        ("c.example", 2),
    ]


def test_a_snapshot_does_not_change_when_a_candidate_is_discarded() -> None:
    candidates = three()
    before = first, second, third = candidates.remaining()
    candidates.discard(second)
    assert before == (first, second, third)
    assert candidates.remaining() == (first, third)


def test_enough_progress_resets_the_failures_and_less_does_not() -> None:
    candidates = three()
    first = candidates.remaining()[0]
    candidates.count_failure(first)
    candidates.credit(first, RESET_BYTES - 1)
    assert (first.failures, first.good) == (1, RESET_BYTES - 1)
    candidates.credit(first, 1)
    assert (first.failures, first.good) == (0, 0)


def test_progress_that_was_wrong_resets_nothing() -> None:
    candidates = three()
    first = candidates.remaining()[0]
    candidates.count_failure(first)
    candidates.credit(first, RESET_BYTES - 1)
    candidates.forget_progress()
    candidates.credit(first, 1)
    assert (first.failures, first.good) == (1, 1)


def test_a_demoted_candidate_is_asked_last_and_later() -> None:
    candidates, hosts = three(), Hosts(FakeClock())
    first, second, third = candidates.remaining()
    candidates.demote(first, 1005.0)
    candidates.rest(second, 1003.0)
    assert choose(candidates.remaining(), hosts, 1000.0) is third
    assert choose(candidates.remaining(), hosts, 1003.0) is second
    candidates.discard(second)
    candidates.discard(third)
    assert first.ready_at == 1005.0
    assert choose(candidates.remaining(), hosts, 1005.0) is first


def test_no_failure_is_lost_when_several_threads_count() -> None:
    candidates = three()
    first = candidates.remaining()[0]

    def count() -> None:
        for _ in range(2000):
            candidates.count_failure(first)
            candidates.credit(first, 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (first.failures, first.good) == (8000, 8000)
