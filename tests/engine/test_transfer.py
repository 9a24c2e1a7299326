"""Transfer of one file: falling back in the middle, keeping good bytes, and refusing wrong ones."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import pytest

from modelfetch.engine.candidates import FIRST_BYTE, Candidates
from modelfetch.engine.events import (
    Event,
    FileCommitted,
    FileQuarantined,
    FileStarted,
    FileVerified,
    Progress,
    RetryScheduled,
    SourceFailed,
)
from modelfetch.engine.segments import SplitPolicy
from modelfetch.engine.transfer import Transfer
from modelfetch.errors import Fault, SourceError
from modelfetch.model.manifest import FileSpec, Manifest
from modelfetch.net.retry import RESET_BYTES, RetryPolicy
from modelfetch.sources.base import Offer
from modelfetch.store.layout import Layout
from tests.engine.fakes import (
    ALONE,
    EAGER,
    MIB,
    NOT_FOUND,
    OK,
    STALL,
    Answer,
    FakeClock,
    FakeTime,
    Laboratory,
    body,
    code,
    crash,
    cut,
    flipped,
    kinds,
    last,
    model,
    of,
    refuse,
    sha256,
    story,
)
from tests.patience import IN_TIME

CONTENT = body(300_000)
WRONG = body(300_000, 1)
MODEL = model("m", {"f.bin": CONTENT})


def got(lab: Laboratory) -> bool:
    return lab.read(MODEL, "f.bin") == CONTENT


def left(events: list[Event]) -> list[tuple[str, str, str]]:
    """Who was left, why, and who was asked next."""
    return [(event.host, event.fault, event.next_host) for event in of(events, SourceFailed)]


def blamed(events: list[Event]) -> list[str]:
    return [event.source for event in of(events, FileQuarantined)]


# Delivery


def test_one_good_source(lab: Laboratory) -> None:
    offer = lab.serve(CONTENT)
    events = lab.ensure(MODEL)
    assert code(events) == 0
    assert got(lab)
    assert offer.asked == [0]
    assert offer.streams[0].is_closed


def test_an_attempt_begins_when_all_is_ready_for_it(lab: Laboratory) -> None:
    """The time to the first byte is the source's: what we still have to load is done before."""
    lab.serve(CONTENT)
    ready: list[str] = []
    runtime, file = replace(lab.runtime(), prepare=ready.append), MODEL.files[0]
    with lab.store.partial(file, True, lambda: False) as partial:
        candidates = Candidates(runtime.offers((MODEL, file)))
        reported = Transfer(runtime, "m", file, partial, candidates).run()
        assert isinstance(next(reported), Progress)
        assert ready == [candidates.remaining()[0].offer.address]


def test_a_cut_goes_on_at_the_exact_byte(lab: Laboratory) -> None:
    offer = lab.serve(CONTENT, cut(until=123_457), cut(until=200_001), OK)
    events = lab.ensure(MODEL)
    assert got(lab)
    assert offer.asked == [0, 123_457, 200_001]
    assert of(story(events), RetryScheduled) == [
        RetryScheduled("m", "f.bin", "mirror", "a.example", attempt, "cut", "cut on purpose", 0.0)
        for attempt in (2, 3)
    ]
    assert all(stream.is_closed for stream in offer.streams)


def test_the_next_source_goes_on_in_the_middle_of_the_file(lab: Laboratory) -> None:
    first = lab.serve(CONTENT, cut(until=100_003), NOT_FOUND, host="a.example")
    second = lab.serve(CONTENT, cut(until=200_005), NOT_FOUND, host="b.example")
    third = lab.serve(CONTENT, kind="url", host="c.example")
    events = lab.ensure(MODEL)
    assert got(lab)
    assert (first.asked, second.asked, third.asked) == ([0, 100_003], [100_003, 200_005], [200_005])
    assert of(events, SourceFailed) == [
        SourceFailed(
            "m",
            "f.bin",
            "mirror",
            "a.example",
            "not_found",
            "not_found on purpose",
            "",
            100_003,
            "mirror",
            "b.example",
        ),
        SourceFailed(
            "m",
            "f.bin",
            "mirror",
            "b.example",
            "not_found",
            "not_found on purpose",
            "",
            200_005,
            "url",
            "c.example",
        ),
    ]


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.TIMEOUT])
def test_a_stalled_host_costs_one_time_limit_not_one_for_each_file(lab: Laboratory, fault: Fault) -> None:
    contents = [body(5000, seed) for seed in range(3)]
    silent = [lab.serve(content, refuse(fault), host="silent.example") for content in contents]
    good = [lab.serve(content, host="good.example") for content in contents]
    many = model("many", {f"{number}.bin": content for number, content in enumerate(contents)})
    events = lab.ensure(many, runtime=lab.runtime(files=1))
    assert code(events) == 0
    assert sum(len(offer.asked) for offer in silent) == 1
    assert sum(len(offer.asked) for offer in good) == 3


@pytest.mark.parametrize("fault", [Fault.SERVER, Fault.CUT, Fault.STALL, Fault.BUSY])
def test_a_host_that_failed_for_another_file_is_not_given_up_for_what_may_pass(
    lab: Laboratory, fault: Fault
) -> None:
    """It is left for the next source at once, but comes back when that has not got the file either."""
    first, second = body(7000), body(5000)
    for host in ("a.example", "b.example"):
        lab.serve(first, refuse(Fault.PROTOCOL), host=host)
    lab.serve(first, host="c.example")
    shaky = lab.serve(second, refuse(fault), refuse(fault), OK, host="a.example")
    lab.serve(second, NOT_FOUND, host="b.example")
    events = lab.ensure(model("m", {"1": first, "2": second}), runtime=lab.runtime(files=1))
    assert code(events) == 0
    assert len(shaky.asked) == 3


def test_a_redirect_to_where_nobody_answers_does_not_make_its_host_unreachable(lab: Laboratory) -> None:
    contents = [body(5000 - seed, seed) for seed in range(3)]
    elsewhere = SourceError(Fault.CONNECT, "connection refused", elsewhere="cdn.example")
    for content in contents:
        lab.serve(content, crash(elsewhere), host="a.example")
        lab.serve(content, refuse(Fault.SERVER), OK, kind="url", host="a.example")
        lab.serve(content, NOT_FOUND, kind="url", host="b.example")
    many = model("many", {f"{number}.bin": content for number, content in enumerate(contents)})
    assert code(lab.ensure(many, runtime=lab.runtime(files=1))) == 0


def test_the_host_that_failed_is_named_where_it_is_another_one_than_was_asked(lab: Laboratory) -> None:
    lab.serve(CONTENT, crash(SourceError(Fault.TLS, "the TLS handshake failed", elsewhere="cdn.example")))
    lab.serve(CONTENT, NOT_FOUND, host="b.example")
    error = last(lab.ensure(MODEL)).error
    assert error is not None
    assert "mirror a.example: the TLS handshake failed (cdn.example)" in error.message


def test_a_source_without_ranges_sends_what_is_there_already_again(lab: Laboratory) -> None:
    offer = lab.serve(CONTENT, cut(until=100_003), Answer(whole=True))
    events = lab.ensure(MODEL)
    assert got(lab)
    assert offer.asked == [0, 100_003]
    assert code(events) == 0


@pytest.mark.quick(3)
@pytest.mark.parametrize("piece", [1, 7, 1000, 65_536, 1_000_000])
def test_the_size_of_the_pieces_does_not_matter(lab: Laboratory, piece: int) -> None:
    content = body(5_003)
    lab.serve(content, cut(until=2_001), Answer(whole=True, piece=piece))
    assert code(lab.ensure(model("m", {"f.bin": content}))) == 0


def test_every_byte_that_came_in_is_counted_good_or_not(lab: Laboratory) -> None:
    lab.serve(CONTENT, cut(until=100_000), Answer(whole=True))
    (committed,) = [event for event in lab.ensure(MODEL) if event.kind == "file_committed"]
    assert getattr(committed, "fetched", None) == 400_000


def test_the_parts_of_a_file_name_every_source_that_sent_some(lab: Laboratory) -> None:
    """Nothing is listed while one source sent all, and everything once a second one goes on."""
    lab.serve(CONTENT, cut(until=100_003), NOT_FOUND)
    lab.serve(CONTENT, kind="url", host="c.example")
    # To list the parts is worth a share of the time, and here it takes none.
    events = lab.ensure(MODEL, runtime=lab.runtime(clock=lambda: 1000.0))
    both = ((0, 100_003, "mirror a.example"), (100_003, 300_000, "url c.example"))
    (committed,) = of(events, FileCommitted)
    assert committed.parts == both
    reported = [(event.host, event.parts) for event in of(events, Progress) if event.attempt]
    assert ("a.example", ()) in reported
    assert reported[-1] == ("c.example", both)
    assert ("c.example", ((0, 100_003, "mirror a.example"),)) in reported


def test_one_source_needs_no_list_of_parts(lab: Laboratory) -> None:
    lab.serve(CONTENT)
    events = lab.ensure(MODEL)
    assert {event.parts for event in of(events, Progress)} == {()}
    assert [event.parts for event in of(events, FileCommitted)] == [()]


def test_bytes_of_a_liar_are_no_parts_of_what_replaces_them(lab: Laboratory) -> None:
    lab.serve(WRONG)
    lab.serve(CONTENT, kind="url", host="c.example")
    (committed,) = of(lab.ensure(MODEL), FileCommitted)
    assert (committed.host, committed.parts) == ("c.example", ())


def test_a_file_that_an_earlier_run_completed_names_its_source(lab: Laboratory) -> None:
    lab.begin(CONTENT, "peer lab-2:8765", len(CONTENT))
    (committed,) = of(lab.ensure(MODEL), FileCommitted)
    assert (committed.source, committed.parts) == ("cache", ((0, 300_000, "peer lab-2:8765"),))


def test_a_file_of_no_bytes_needs_no_request(lab: Laboratory) -> None:
    offer = lab.serve(b"")
    empty = model("m", {"empty.bin": b""})
    assert code(lab.ensure(empty)) == 0
    assert lab.read(empty, "empty.bin") == b""
    assert offer.asked == []


def test_a_pin_no_file_can_match_ends(lab: Laboratory) -> None:
    """Size 0 with the digest of some bytes: no source can deliver that, and none must be asked for ever."""
    empty = model("m", {"f.bin": CONTENT})
    impossible = type(empty)("m", "1", (type(empty.files[0])("f.bin", 0, sha256(CONTENT)),))
    events = lab.ensure(impossible)
    assert code(events) == 5
    assert not lab.place(impossible, "f.bin").exists()


# Patience


def test_tries_without_progress_are_few(lab: Laboratory) -> None:
    offer = lab.serve(CONTENT, cut(until=1000), cut(most=0))
    events = lab.ensure(MODEL)
    assert code(events) == 6
    assert offer.asked == [0, 1000, 1000, 1000, 1000]
    assert kinds(events)[2:] == ["file_started", *["retry_scheduled"] * 4, "source_failed", "run_finished"]


def test_a_drip_of_one_byte_per_try_ends(lab: Laboratory) -> None:
    offer = lab.serve(CONTENT, cut(most=1))
    assert code(lab.ensure(MODEL)) == 6
    assert offer.asked == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("answer", [Answer(most=0), Answer(whole=True, until=5)])
def test_an_answer_that_ends_early_counts_as_a_failed_try(lab: Laboratory, answer: Answer) -> None:
    offer = lab.serve(CONTENT, answer)
    events = lab.ensure(MODEL)
    assert code(events) == 6
    assert len(offer.asked) == 5
    assert {event.fault for event in of(events, RetryScheduled)} == {"cut"}


# Ranges shorter than asked for (RFC 9110, 15.3.7)


@pytest.mark.parametrize("split_policy", [ALONE, EAGER], ids=["one connection", "several"])
def test_short_ranges_are_progress_however_many(lab: Laboratory, split_policy: SplitPolicy) -> None:
    offer = lab.serve(CONTENT, Answer(most=10_000))
    events = lab.ensure(MODEL, runtime=lab.runtime(split_policy=split_policy))
    assert code(events) == 0
    assert got(lab)
    assert len(offer.asked) >= 30
    assert not of(events, RetryScheduled)
    assert {event.attempt for event in of(events, Progress)} == {1}
    assert len(of(events, Progress)) < len(offer.asked), "an answer is no attempt of its own"


def test_a_short_range_without_a_byte_is_a_failed_try(lab: Laboratory) -> None:
    offer = lab.serve(CONTENT, Answer(until=100_003))
    events = lab.ensure(MODEL)
    assert code(events) == 6
    assert offer.asked == [0, *[100_003] * 5]
    assert len(of(events, RetryScheduled)) == 4


def test_a_source_that_drips_range_by_range_is_left_for_being_slow(lab: Laboratory) -> None:
    """A byte for each answer, one answer a second: nothing else would ever end it."""
    clock = FakeClock()

    def tick() -> None:
        clock.now += 1.0

    slow = lab.serve(CONTENT, Answer(most=1, before_piece=tick))
    other = lab.serve(CONTENT, kind="url", host="b.example")
    events = lab.ensure(MODEL, runtime=lab.runtime(clock=clock))
    assert code(events) == 0
    assert got(lab)
    assert len(slow.asked) == 30
    assert other.asked == [30]
    assert left(events) == [("a.example", "stall", "b.example")]


def test_an_early_end_is_made_up_for_by_the_next_source(lab: Laboratory) -> None:
    lab.serve(CONTENT, Answer(until=100_003), NOT_FOUND)
    other = lab.serve(CONTENT, kind="url")
    assert code(lab.ensure(MODEL)) == 0
    assert got(lab)
    assert other.asked == [100_003]


@pytest.mark.slow
def test_only_eight_new_mebibytes_make_tries_count_anew(lab: Laboratory) -> None:
    content = body(RESET_BYTES + 5 * MIB)
    answers = [cut(most=MIB)] * 4 + [cut(most=4 * MIB)]  # four failures, then 8 MiB are full
    offer = lab.serve(content, *answers, cut(most=0), cut(most=0), cut(most=0), OK)
    assert code(lab.ensure(model("m", {"f.bin": content}))) == 0
    assert len(offer.asked) == 9


@pytest.mark.slow
def test_a_little_less_than_eight_mebibytes_are_no_progress(lab: Laboratory) -> None:
    content = body(RESET_BYTES + 5 * MIB)
    answers = [cut(most=MIB)] * 4 + [cut(most=4 * MIB - 1)]
    offer = lab.serve(content, *answers, OK)
    assert code(lab.ensure(model("m", {"f.bin": content}))) == 6
    assert len(offer.asked) == 5


@pytest.mark.slow
def test_bytes_of_others_are_no_progress_of_a_source(lab: Laboratory) -> None:
    content = body(RESET_BYTES + MIB)
    lab.begin(content, "mirror earlier.example", RESET_BYTES)
    offer = lab.serve(content, *[cut(most=0)] * 4, cut(most=1), OK)
    assert code(lab.ensure(model("m", {"f.bin": content}))) == 6
    assert len(offer.asked) == 5


@pytest.mark.slow
def test_large_answers_in_parts_are_not_held_against_a_source(lab: Laboratory) -> None:
    """A server may send less than the range it was asked for (RFC 9110, 14.2)."""
    content = body(RESET_BYTES + MIB)
    offer = lab.serve(content, Answer(most=RESET_BYTES), OK)
    events = lab.ensure(model("m", {"f.bin": content}))
    assert code(events) == 0
    assert offer.asked == [0, RESET_BYTES]
    assert of(events, RetryScheduled) == []


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.TIMEOUT])
def test_after_a_silence_the_next_source_is_asked_and_the_first_stays_in_reserve(
    lab: Laboratory, fault: Fault
) -> None:
    first = lab.serve(CONTENT, cut(until=100_000, fault=fault), OK, host="a.example")
    second = lab.serve(CONTENT, cut(until=200_000), NOT_FOUND, host="b.example")
    events = lab.ensure(MODEL)
    assert got(lab)
    assert (first.asked, second.asked) == ([0, 200_000], [100_000, 200_000])
    assert left(events) == [
        ("a.example", str(fault), "b.example"),
        ("b.example", "not_found", "a.example"),
    ]


def test_two_places_of_one_host_are_blamed_each_for_its_own_bytes(lab: Laboratory) -> None:
    """They bear the same name; one has other bytes, and the other is right."""
    wrong = lab.serve(CONTENT, Answer(sends=WRONG, until=100_000), NOT_FOUND, kind="url", host="a.example")
    right = lab.serve(CONTENT, kind="url", host="a.example")
    events = lab.ensure(MODEL)
    assert code(events) == 0
    assert got(lab)
    assert wrong.asked == [0, 100_000]
    assert right.asked == [100_000, 0]
    assert [event.fault for event in of(events, SourceFailed)] == ["not_found"]


def test_a_place_is_not_doubted_for_another_of_its_host(lab: Laboratory) -> None:
    """The first one's lie is no reason to give the second one a single try."""
    lab.serve(CONTENT, Answer(sends=WRONG), kind="url", host="a.example")
    right = lab.serve(CONTENT, cut(most=1000), cut(most=1000), OK, kind="url", host="a.example")
    lab.serve(CONTENT, STALL, kind="url", host="b.example")
    events = lab.ensure(MODEL)
    assert code(events) == 0
    assert right.asked == [0, 1000, 2000]


def test_a_source_in_reserve_is_not_asked_while_others_deliver(lab: Laboratory) -> None:
    first = lab.serve(CONTENT, STALL, host="a.example")
    lab.serve(CONTENT, cut(until=100), cut(until=200), OK, host="b.example")
    assert code(lab.ensure(MODEL)) == 0
    assert first.asked == [0]


def test_sources_that_all_stall_are_left_in_the_end(lab: Laboratory) -> None:
    offers = [lab.serve(CONTENT, STALL, host=f"{n}.example") for n in range(3)]
    events = lab.ensure(MODEL)
    assert code(events) == 6
    assert [len(offer.asked) for offer in offers] == [5, 5, 5]
    assert [offer.asked for offer in offers] == [[0] * 5] * 3


def test_an_unreachable_source_is_left_sooner_when_there_is_another(lab: Laboratory) -> None:
    first = lab.serve(CONTENT, refuse(Fault.CONNECT), host="a.example")
    second = lab.serve(CONTENT, refuse(Fault.CONNECT), host="b.example")
    assert code(lab.ensure(MODEL)) == 6
    assert (len(first.asked), len(second.asked)) == (2, 5)


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    "fault",
    [
        Fault.NOT_FOUND,
        Fault.AUTHORIZATION,
        Fault.TLS,
        Fault.PROXY,
        Fault.PROTOCOL,
        Fault.REDIRECT,
        Fault.SIZE,
    ],
)
def test_a_source_with_a_lasting_fault_is_asked_once(lab: Laboratory, fault: Fault) -> None:
    offer = lab.serve(CONTENT, refuse(fault))
    other = lab.serve(CONTENT, kind="url", host="b.example")
    assert code(lab.ensure(MODEL)) == 0
    assert (offer.asked, other.asked) == ([0], [0])


def test_tries_can_be_configured(lab: Laboratory) -> None:
    offer = lab.serve(CONTENT, cut(most=0))
    lab.ensure(MODEL, runtime=lab.runtime(retry=RetryPolicy(attempts=2, base=0.001)))
    assert len(offer.asked) == 2


def test_waits_stay_within_the_policy(lab: Laboratory) -> None:
    lab.serve(CONTENT, cut(most=0))
    events = lab.ensure(MODEL)
    assert all(0 <= event.wait <= 0.002 for event in of(events, RetryScheduled))


def test_a_wait_is_reported_before_it_begins(lab: Laboratory) -> None:
    passing = FakeTime()
    offer = lab.serve(CONTENT, refuse(Fault.BUSY, retry_after=100.0), OK)
    reported: list[float] = []
    runtime = lab.runtime(cancel=passing, clock=passing.clock)
    for event in lab.follow(MODEL, runtime=runtime):
        if isinstance(event, RetryScheduled):
            reported.append(sum(passing.sleeps))
            assert 100.0 <= event.wait <= 111.0
    assert offer.asked == [0, 0]
    assert reported
    assert sum(passing.sleeps) >= 100.0


# Busy servers


def test_a_busy_server_is_left_alone_while_another_is_asked(lab: Laboratory) -> None:
    busy = lab.serve(CONTENT, cut(until=100_000), refuse(Fault.BUSY, retry_after=60.0), host="a.example")
    other = lab.serve(CONTENT, host="b.example")
    began = time.monotonic()
    events = lab.ensure(MODEL)
    assert time.monotonic() - began < IN_TIME
    assert got(lab)
    assert (busy.asked, other.asked) == ([0, 100_000], [100_000])
    assert left(events) == [("a.example", "busy", "b.example")]


def test_a_busy_server_is_not_asked_for_any_file(lab: Laboratory) -> None:
    contents = {f"{n}.bin": body(1000 - n, n) for n in range(5)}
    busy = [lab.serve(content, refuse(Fault.BUSY, retry_after=60.0)) for content in contents.values()]
    for content in contents.values():
        lab.serve(content, kind="url", host="b.example")
    assert code(lab.ensure(model("m", contents), runtime=lab.runtime(files=1))) == 0
    assert [len(offer.asked) for offer in busy] == [1, 0, 0, 0, 0]


def test_during_a_wait_asked_of_another_file_another_source_is_asked(lab: Laboratory) -> None:
    passing = FakeTime()

    def park() -> None:
        runtime.hosts.defer("a.example", 60.0)

    lab.serve(CONTENT, Answer(until=100_000, error=cut().error, before_piece=park), OK, host="a.example")
    other = lab.serve(CONTENT, host="b.example")
    runtime = lab.runtime(cancel=passing, clock=passing.clock)
    events = lab.ensure(MODEL, runtime=runtime)
    assert other.asked == [100_000]
    assert left(events) == [("a.example", "cut", "b.example")]
    assert sum(passing.sleeps) < 1.0


def test_a_busy_server_that_wants_too_much_is_left_for_good(lab: Laboratory) -> None:
    offer = lab.serve(CONTENT, refuse(Fault.BUSY, retry_after=301.0))
    began = time.monotonic()
    assert code(lab.ensure(MODEL)) == 6
    assert time.monotonic() - began < IN_TIME
    assert offer.asked == [0]


def test_a_short_wait_of_the_only_source_is_waited_for(lab: Laboratory) -> None:
    offer = lab.serve(CONTENT, refuse(Fault.BUSY, retry_after=3.0), OK)
    passing = FakeTime()
    assert code(lab.ensure(MODEL, runtime=lab.runtime(cancel=passing, clock=passing.clock))) == 0
    assert offer.asked == [0, 0]
    assert 3.0 <= sum(passing.sleeps) <= 4.4


# Wrong bytes


@pytest.mark.parametrize("wrong", [WRONG, flipped(CONTENT, 0), flipped(CONTENT, 299_999), bytes(300_000)])
def test_wrong_bytes_of_one_source_are_its_own_fault(lab: Laboratory, wrong: bytes) -> None:
    liar = lab.serve(CONTENT, Answer(sends=wrong), host="a.example")
    honest = lab.serve(CONTENT, host="b.example")
    events = lab.ensure(MODEL)
    assert code(events) == 0
    assert got(lab)
    assert (liar.asked, honest.asked) == ([0], [0])
    assert of(story(events), FileQuarantined) == [
        FileQuarantined("m", "f.bin", "", sha256(CONTENT), sha256(wrong), "mirror a.example")
    ]
    assert left(events) == [("a.example", "hash", "b.example")]
    assert lab.quarantined() == [wrong]


def test_a_source_of_wrong_bytes_is_never_asked_for_the_file_again(lab: Laboratory) -> None:
    liar = lab.serve(CONTENT, Answer(sends=WRONG), OK, host="a.example")
    lab.serve(CONTENT, NOT_FOUND, host="b.example")
    events = lab.ensure(MODEL)
    assert code(events) == 5
    assert liar.asked == [0]
    assert not lab.place(MODEL, "f.bin").exists()
    assert not Layout(lab.store.root).blob(sha256(CONTENT)).exists()


def test_when_every_source_lies_nothing_gets_a_name(lab: Laboratory) -> None:
    for n in range(3):
        lab.serve(CONTENT, Answer(sends=body(300_000, n + 1)), host=f"{n}.example")
    events = lab.ensure(MODEL)
    finished = last(events)
    assert finished.exit_code == 5
    assert finished.error is not None
    assert finished.error.code == "integrity"
    for n in range(3):
        assert f"{n}.example" in finished.error.message
    assert not list(lab.root.glob("models/**/*.bin"))
    assert not [path for path in lab.root.glob("blobs/**/*") if path.is_file()]
    assert len(lab.quarantined()) == 1


def test_one_lie_is_not_hidden_by_another_fault_of_the_same_host(lab: Laboratory) -> None:
    """Two addresses on one host: the wrong bytes of the first still decide the outcome."""
    lab.serve(CONTENT, Answer(sends=WRONG), host="a.example")
    lab.serve(CONTENT, NOT_FOUND, host="a.example")
    finished = last(lab.ensure(MODEL))
    assert finished.exit_code == 5
    assert finished.error is not None
    assert finished.error.message.count("mirror a.example: ") == 2


def test_a_mixture_that_is_wrong_is_tried_once_more_from_one_source_alone(lab: Laboratory) -> None:
    mixed = Answer(sends=flipped(CONTENT, 5), until=100_000, error=cut().error)
    lab.serve(CONTENT, mixed, NOT_FOUND, host="a.example")
    honest = lab.serve(CONTENT, host="b.example")
    events = lab.ensure(MODEL)
    assert code(events) == 0
    assert got(lab)
    assert honest.asked == [100_000, 0]
    assert blamed(events) == ["mirror a.example + mirror b.example"]
    assert [event.fault for event in of(events, RetryScheduled)] == ["cut", "hash"]
    assert left(events) == [("a.example", "not_found", "b.example")]


def test_in_a_mixture_the_liar_is_found_out(lab: Laboratory) -> None:
    honest = lab.serve(CONTENT, cut(until=100_000), STALL, OK, host="a.example")
    liar = lab.serve(CONTENT, Answer(sends=WRONG), host="b.example")
    events = lab.ensure(MODEL)
    assert code(events) == 0
    assert got(lab)
    assert liar.asked == [100_000, 0]
    assert honest.asked == [0, 100_000, 0]
    assert blamed(events) == ["mirror b.example"]
    assert left(events)[-1] == ("b.example", "hash", "a.example")


def test_the_second_attempt_is_made_by_the_source_in_the_event(lab: Laboratory) -> None:
    """Though a better source may be asked again meanwhile."""
    passing = FakeTime()

    def pass_time() -> None:
        passing.clock.now += 10.0

    lab.begin(CONTENT, "mirror old.example", 100_000, wrong=b"x")
    rested = lab.serve(CONTENT, host="a.example")
    asked = lab.serve(CONTENT, Answer(before_piece=pass_time), host="b.example")
    runtime = lab.runtime(cancel=passing, clock=passing.clock)
    runtime.hosts.defer("a.example", 5.0)
    events = lab.ensure(MODEL, runtime=runtime)
    assert [event.host for event in of(events, RetryScheduled)] == ["b.example"]
    assert (rested.asked, asked.asked) == ([], [100_000, 0])


@pytest.mark.slow
def test_a_second_attempt_has_the_time_limits_of_the_first(lab: Laboratory) -> None:
    content = body(RESET_BYTES + 5 * MIB)
    wrong = Answer(sends=flipped(content, 5), until=100_000, error=cut().error)
    lab.serve(content, wrong, NOT_FOUND, host="a.example")
    slow = [cut(most=MIB)] * 4 + [cut(most=4 * MIB), cut(most=0), cut(most=0), cut(most=0)]
    lab.serve(content, OK, *slow, OK, host="b.example")
    assert code(lab.ensure(model("m", {"f.bin": content}))) == 0


def test_alone_means_that_a_switch_begins_from_the_start(lab: Laboratory) -> None:
    mixed = Answer(sends=flipped(CONTENT, 5), until=100_000, error=cut().error)
    lab.serve(CONTENT, mixed, NOT_FOUND, host="a.example")
    second = lab.serve(CONTENT, OK, cut(until=50_000), NOT_FOUND, host="b.example")
    third = lab.serve(CONTENT, cut(until=70_000), OK, host="c.example")
    assert code(lab.ensure(MODEL)) == 0
    assert got(lab)
    assert second.asked == [100_000, 0, 50_000]
    assert third.asked == [0, 70_000]


def test_alone_the_prefix_is_kept_until_another_really_delivers(lab: Laboratory) -> None:
    mixed = Answer(sends=flipped(CONTENT, 5), until=100_000, error=cut().error)
    lab.serve(CONTENT, mixed, NOT_FOUND, host="a.example")
    second = lab.serve(CONTENT, OK, cut(until=50_000, fault=Fault.STALL), OK, host="b.example")
    third = lab.serve(CONTENT, NOT_FOUND, host="c.example")
    assert code(lab.ensure(MODEL)) == 0
    assert third.asked == [0]
    assert second.asked == [100_000, 0, 50_000]


def test_one_liar_does_not_keep_the_others_from_helping_each_other(lab: Laboratory) -> None:
    lab.serve(CONTENT, Answer(sends=WRONG), host="a.example")
    lab.serve(CONTENT, cut(until=100_000), NOT_FOUND, host="b.example")
    third = lab.serve(CONTENT, host="c.example")
    assert code(lab.ensure(MODEL)) == 0
    assert third.asked == [100_000]


@pytest.mark.slow
def test_sources_that_take_turns_for_ever_are_ended(lab: Laboratory) -> None:
    """Each delivers more than enough to count its tries anew, if the same bytes counted twice."""
    content = body(RESET_BYTES + 2 * MIB)
    wrong = Answer(sends=flipped(content, 5), until=100, error=cut().error)
    long = cut(most=RESET_BYTES + MIB, fault=Fault.STALL)
    lab.serve(content, wrong, NOT_FOUND, host="0.example")
    first = lab.serve(content, OK, long, host="a.example")
    second = lab.serve(content, long, host="b.example")
    assert code(lab.ensure(model("m", {"f.bin": content}))) == 6
    assert len(first.asked) + len(second.asked) <= 15


def test_too_many_bytes_are_refused_at_the_last_good_one(lab: Laboratory) -> None:
    long = lab.serve(CONTENT, Answer(sends=CONTENT + b"more", piece=65_537), host="a.example")
    other = lab.serve(CONTENT, host="b.example")
    events = lab.ensure(MODEL)
    assert code(events) == 0
    assert got(lab)
    assert left(events) == [("a.example", "size", "b.example")]
    assert long.asked == [0]
    assert other.asked == [65_537 * 4]


def test_bytes_beyond_a_complete_file_do_not_spoil_it(lab: Laboratory) -> None:
    lab.serve(CONTENT, Answer(sends=CONTENT + b"more", piece=100_000))
    assert code(lab.ensure(MODEL)) == 0
    assert got(lab)


def test_endless_bytes_end(lab: Laboratory) -> None:
    content = body(1000)
    offer = lab.serve(content, Answer(sends=bytes(50 * MIB), piece=900))
    assert code(lab.ensure(model("m", {"f.bin": content}))) == 5
    assert offer.asked == [0]


# What earlier runs left


def test_an_earlier_run_is_gone_on_with(lab: Laboratory) -> None:
    lab.begin(CONTENT, "mirror old.example", 123_457)
    offer = lab.serve(CONTENT)
    events = lab.ensure(MODEL)
    assert got(lab)
    assert offer.asked == [123_457]
    assert of(events, FileStarted) == [FileStarted("m", "f.bin", 300_000, 123_457)]


def test_a_complete_partial_needs_no_request(lab: Laboratory) -> None:
    lab.begin(CONTENT, "mirror old.example")
    offer = lab.serve(CONTENT)
    events = lab.ensure(MODEL)
    assert code(events) == 0
    assert got(lab)
    assert offer.asked == []
    assert kinds(events)[2:4] == ["file_started", "file_verified"]


def test_a_wrong_complete_partial_is_blamed_on_no_source_of_this_run(lab: Laboratory) -> None:
    lab.begin(CONTENT, "mirror old.example", wrong=b"x")
    offer = lab.serve(CONTENT, host="old.example")
    events = lab.ensure(MODEL)
    assert code(events) == 0
    assert got(lab)
    assert offer.asked == [0]
    assert left(events) == []
    assert blamed(events) == ["mirror old.example (earlier)"]


def test_a_wrong_beginning_of_an_earlier_run_is_not_blamed_on_the_source_that_completed_it(
    lab: Laboratory,
) -> None:
    lab.begin(CONTENT, "mirror a.example", 100_000, wrong=b"x")
    offer = lab.serve(CONTENT, host="a.example")
    events = lab.ensure(MODEL)
    assert code(events) == 0
    assert got(lab)
    assert offer.asked == [100_000, 0]
    assert blamed(events) == ["mirror a.example + mirror a.example (earlier)"]
    assert left(events) == []


@pytest.mark.quick(2)
@pytest.mark.parametrize("split_policy", [SplitPolicy(), EAGER], ids=["one connection", "several"])
@pytest.mark.parametrize("begun", [3 * MIB, 4 * MIB], ids=["begun", "complete"])
def test_what_was_damaged_meanwhile_is_fetched_again_and_no_more(
    lab: Laboratory, begun: int, split_policy: SplitPolicy
) -> None:
    """The rest comes first, and does not wait until earlier bytes are read again."""
    content = body(4 * MIB)
    lab.begin(content, "mirror old.example", begun)
    [data] = lab.root.glob("partial/*/data")
    with data.open("r+b") as file:
        file.seek(3 * MIB // 2)
        file.write(b"x")
    offer = lab.serve(content)
    events = lab.ensure(model("m", {"f.bin": content}), runtime=lab.runtime(split_policy=split_policy))
    assert code(events) == 0
    assert lab.read(model("m", {"f.bin": content}), "f.bin") == content
    assert of(events, FileQuarantined) == []
    [committed] = of(events, FileCommitted)
    assert committed.fetched <= len(content) - begun + 2 * MIB
    assert min(offer.asked) >= MIB


def test_an_interrupted_run_leaves_its_bytes_for_the_next(lab: Laboratory) -> None:
    lab.serve(CONTENT, cut(until=123_457), NOT_FOUND)
    assert code(lab.ensure(MODEL)) == 6
    later = Laboratory(lab.root)
    offer = later.serve(CONTENT, kind="url", host="z.example")
    assert code(later.ensure(MODEL)) == 0
    assert offer.asked == [123_457]


# Hosts


def test_an_unreachable_host_is_found_out_once(lab: Laboratory) -> None:
    contents = {f"{n}.bin": body(1000 - n, n) for n in range(5)}
    dead = [lab.serve(content, refuse(Fault.CONNECT)) for content in contents.values()]
    for content in contents.values():
        lab.serve(content, kind="url", host="b.example")
    assert code(lab.ensure(model("m", contents), runtime=lab.runtime(files=1))) == 0
    assert [len(offer.asked) for offer in dead] == [2, 0, 0, 0, 0]


def test_a_host_known_to_be_down_is_not_even_tried(lab: Laboratory) -> None:
    dead, sick = lab.serve(CONTENT, host="a.example"), lab.serve(CONTENT, host="b.example")
    runtime = lab.runtime()
    runtime.hosts.record_failure("a.example", SourceError(Fault.CONNECT, "refused on purpose"))
    runtime.hosts.record_failure("b.example", SourceError(Fault.SERVER, "on purpose"))
    events = lab.ensure(MODEL, runtime=runtime)
    assert code(events) == 0
    assert (dead.asked, sick.asked) == ([], [0])
    assert [(event.host, event.reason) for event in of(events, SourceFailed)] == [
        ("a.example", "refused on purpose")
    ]


def test_the_only_source_of_a_file_is_asked_though_its_host_was_down(lab: Laboratory) -> None:
    first, second = body(1000, 1), body(900, 2)
    lab.serve(first, refuse(Fault.CONNECT))
    lab.serve(first, kind="url", host="b.example")
    only = lab.serve(second, refuse(Fault.CONNECT), OK)
    wanted = model("m", {"1.bin": first, "2.bin": second})
    assert code(lab.ensure(wanted, runtime=lab.runtime(files=1))) == 0
    assert only.asked == [0, 0]


def test_a_host_that_failed_is_asked_last_and_once(lab: Laboratory) -> None:
    first, second, third = body(1000, 1), body(900, 2), body(800, 3)
    lab.serve(first, refuse(Fault.SERVER))
    sick = [lab.serve(second, refuse(Fault.SERVER)), lab.serve(third, refuse(Fault.SERVER))]
    lab.serve(first, kind="url", host="b.example")
    lab.serve(second, kind="url", host="b.example")
    lab.serve(third, NOT_FOUND, kind="url", host="b.example")
    wanted = model("m", {"1.bin": first, "2.bin": second, "3.bin": third})
    assert code(lab.ensure(wanted, runtime=lab.runtime(files=1))) == 6
    assert sick[0].asked == []
    assert len(sick[1].asked) == 5  # the only one left for this file


def test_hosts_that_failed_for_another_file_are_asked_in_turn(lab: Laboratory) -> None:
    first, second = body(1000, 1), body(900, 2)
    lab.serve(first, refuse(Fault.SERVER), host="a.example")
    sick = lab.serve(second, refuse(Fault.SERVER), host="a.example")
    lab.serve(first, refuse(Fault.SERVER), host="b.example")
    worse = lab.serve(second, refuse(Fault.SERVER), host="b.example")
    lab.serve(first, kind="url", host="c.example")
    wanted = model("m", {"1.bin": first, "2.bin": second})
    events = lab.ensure(wanted, runtime=lab.runtime(files=1))
    assert (len(sick.asked), len(worse.asked)) == (5, 5)
    left = [event.host for event in of(events, SourceFailed) if event.file == "2.bin"]
    assert left[:2] == ["a.example", "b.example"]  # the waits that follow are drawn by lot


def test_a_host_that_delivers_again_is_trusted_again(lab: Laboratory) -> None:
    first, second, third = body(1000, 1), body(900, 2), body(800, 3)
    lab.serve(first, refuse(Fault.SERVER))
    lab.serve(first, kind="url", host="b.example")
    lab.serve(second)
    sick = lab.serve(third)
    other = lab.serve(third, kind="url", host="b.example")
    wanted = model("m", {"1.bin": first, "2.bin": second, "3.bin": third})
    assert code(lab.ensure(wanted, runtime=lab.runtime(files=1))) == 0
    assert (len(sick.asked), len(other.asked)) == (1, 0)


def test_a_host_that_sends_nothing_is_not_trusted_for_it(lab: Laboratory) -> None:
    first, second = body(1000, 1), body(900, 2)
    lab.serve(first, Answer(most=0))
    sick = lab.serve(second, Answer(most=0))
    lab.serve(first, kind="url", host="b.example")
    lab.serve(second, kind="url", host="b.example")
    wanted = model("m", {"1.bin": first, "2.bin": second})
    assert code(lab.ensure(wanted, runtime=lab.runtime(files=1))) == 0
    assert sick.asked == []


def test_one_bad_file_on_this_disk_does_not_demote_the_directory(lab: Laboratory) -> None:
    first, second = body(1000, 1), body(900, 2)
    lab.serve(first, Answer(sends=body(1000, 9)), kind="local", host="/hf/blobs")
    near = lab.serve(second, kind="local", host="/hf/blobs")
    far = lab.serve(second, kind="url", host="b.example")
    lab.serve(first, kind="url", host="b.example")
    wanted = model("m", {"1.bin": first, "2.bin": second})
    assert code(lab.ensure(wanted, runtime=lab.runtime(files=1))) == 0
    assert (near.asked, far.asked) == ([0], [])


# Events


def test_progress_is_absolute_and_never_runs_backwards(lab: Laboratory) -> None:
    lab.serve(CONTENT, cut(until=100_003), NOT_FOUND, host="a.example")
    lab.serve(CONTENT, Answer(whole=True), host="b.example")
    reported = of(lab.ensure(MODEL), Progress)
    assert [event.received for event in reported] == sorted(event.received for event in reported)
    assert {event.size for event in reported} == {300_000}
    assert reported[-1].received == 300_000
    tries = {("a.example", 1), ("a.example", 2), ("b.example", 1)}
    assert {(event.host, event.attempt) for event in reported} == tries


@pytest.mark.slow
def test_progress_comes_at_most_ten_times_a_second(lab: Laboratory) -> None:
    lab.serve(CONTENT, Answer(piece=1000, before_piece=lambda: time.sleep(0.001)))
    began = time.monotonic()
    reported = of(lab.ensure(MODEL), Progress)
    assert len(reported) <= 10 * (time.monotonic() - began) + 4  # begun, answered, first piece, last piece


def test_attempts_are_numbered(lab: Laboratory) -> None:
    lab.serve(CONTENT, cut(until=10), cut(until=20), OK)
    events = lab.ensure(MODEL)
    attempts = [event.attempt for event in events if isinstance(event, Progress | RetryScheduled)]
    assert attempts == sorted(attempts)
    assert set(attempts) == {1, 2, 3}


def test_verified_is_reported_once_and_before_the_final_name(lab: Laboratory) -> None:
    lab.serve(CONTENT, cut(until=10), OK)
    reported = kinds(lab.ensure(MODEL))
    assert reported.count("file_verified") == 1
    assert ("file_verified", "file_committed") in pairwise(reported)


def test_a_bug_in_a_source_is_raised(lab: Laboratory) -> None:
    lab.serve(CONTENT, crash(ZeroDivisionError("on purpose")))
    lab.serve(CONTENT, kind="url")
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        lab.ensure(MODEL)
    assert not lab.place(MODEL, "f.bin").exists()


def test_what_is_verified_is_the_pinned_digest(lab: Laboratory) -> None:
    lab.serve(CONTENT)
    assert of(lab.ensure(MODEL), FileVerified) == [FileVerified("m", "f.bin", 300_000, sha256(CONTENT))]


def test_the_message_of_a_source_reaches_the_end(lab: Laboratory) -> None:
    hint = "Set HF_TOKEN to a token that may read it."
    lab.serve(CONTENT, refuse(Fault.AUTHORIZATION, hint=hint), kind="huggingface", host="hf.example")
    finished = last(lab.ensure(MODEL))
    assert finished.error is not None
    assert finished.error.hint == hint
    assert "huggingface hf.example: authorisation on purpose" in finished.error.message


def test_a_failure_that_may_not_be_repeated_is_not(lab: Laboratory) -> None:
    """NXDOMAIN: a fault of a transient kind, said not to pass."""
    gone = SourceError(Fault.CONNECT, "cannot resolve host", retry=False)
    offer = lab.serve(CONTENT, crash(gone))
    assert code(lab.ensure(MODEL)) == 6
    assert len(offer.asked) == 1


# Gateways


def test_gateways_are_asked_once_each_with_a_short_time_limit(lab: Laboratory) -> None:
    gateways = [
        lab.serve(CONTENT, refuse(fault), kind="ipfs", host=f"{fault}.example")
        for fault in (Fault.SERVER, Fault.TIMEOUT, Fault.BUSY)
    ]
    mirror = lab.serve(CONTENT, kind="url", host="b.example")
    assert code(lab.ensure(MODEL)) == 0
    assert [gateway.hurried for gateway in gateways] == [[FIRST_BYTE]] * 3
    assert mirror.hurried == [None]


def test_what_a_gateway_did_not_have_is_asked_of_it_last(lab: Laboratory) -> None:
    gateway = lab.serve(CONTENT, kind="ipfs", host="gateway.example")
    mirror = lab.serve(CONTENT, cut(until=100_000), NOT_FOUND, kind="url", host="b.example")

    def is_absent(offer: Offer, manifest: Manifest, file: FileSpec) -> bool:
        return (offer.host, manifest.name, file.path) == ("gateway.example", "m", "f.bin")

    runtime = replace(lab.runtime(), absent=is_absent)
    assert [offer.kind for offer in runtime.offers((MODEL, MODEL.files[0]))] == ["url", "ipfs"]
    assert code(lab.ensure(MODEL, runtime=runtime)) == 0
    assert (mirror.asked, gateway.asked) == ([0, 100_000], [100_000])
