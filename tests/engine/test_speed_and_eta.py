"""The meter shows the right speed early, follows changes, and leaves out pauses."""

from __future__ import annotations

import pytest

from modelfetch.engine.speed_and_eta import HALF_LIFE, INTERVAL, SAMPLES, Meter


def metered(rate: float, seconds: float, step: float = 0.1) -> Meter:
    """Meter a steady stream."""
    meter = Meter()
    for n in range(round(seconds / step) + 1):
        meter.add(round(rate * step), n * step)
    return meter


def test_a_steady_stream_has_its_true_speed_from_the_first_figure_on() -> None:
    assert metered(1000, seconds=SAMPLES * 0.1).speed == pytest.approx(1000)
    assert metered(1000, seconds=60).speed == pytest.approx(1000)


def test_nothing_is_shown_before_four_samples() -> None:
    assert metered(1000, seconds=0.3).speed is None


def test_after_a_half_life_old_and_new_speed_weigh_the_same() -> None:
    meter = metered(1000, seconds=600)
    meter.add(1, 600 + HALF_LIFE)
    assert meter.speed == pytest.approx(500, rel=0.001)


def test_samples_count_by_their_length() -> None:
    even, uneven = Meter(), Meter()
    for at in (0.0, 1.0, 2.0, 3.0, 4.0):
        even.add(100 if at else 0, at)
    for at, gained in ((0.0, 0), (0.1, 10), (0.2, 10), (0.3, 10), (4.0, 370)):
        uneven.add(gained, at)
    assert even.speed == pytest.approx(uneven.speed)


def test_a_burst_is_spread_over_the_time_it_took_to_come() -> None:
    meter = Meter()
    meter.add(0, 0.0)
    for n in range(1, 5):
        meter.add(500, n)
        meter.add(500, n + INTERVAL / 10)
    assert meter.speed == pytest.approx(1000, rel=0.15)


def test_bytes_before_the_clock_started_are_no_speed() -> None:
    meter = Meter()
    meter.add(10**12, 0.0)
    for n in range(1, 6):
        meter.add(10, n)
    assert meter.speed == pytest.approx(10)


def test_silence_before_the_first_byte_is_no_slowness() -> None:
    meter = Meter()
    meter.add(0, 0.0)
    meter.add(0, 30.0)
    for n in range(1, 6):
        meter.add(10, 30 + n)
    assert meter.speed == pytest.approx(10)


def test_silence_after_the_first_byte_is() -> None:
    meter = metered(1000, seconds=10)
    meter.add(1, 20.0)
    assert meter.speed == pytest.approx(1000 / 3, rel=0.01)


def test_after_two_seconds_of_silence_there_is_no_speed_until_the_next_byte() -> None:
    meter = metered(1000, seconds=10)
    meter.add(0, 11.9)
    assert meter.idle is None
    assert meter.speed is not None
    meter.add(0, 12.0)
    assert meter.idle == pytest.approx(2.0)
    assert meter.speed is None
    meter.add(1, 13.0)
    assert meter.idle is None
    assert meter.speed is not None


def test_a_pause_is_not_silence() -> None:
    meter = metered(1000, seconds=10)
    meter.pause()
    meter.add(0, 500.0)
    assert meter.idle is None
    meter.add(0, 503.0)
    assert meter.idle == pytest.approx(3.0)


def test_a_pause_is_left_out() -> None:
    meter = metered(1000, seconds=10)
    meter.pause()
    meter.add(0, 500.0)
    meter.add(1000, 501.0)
    assert meter.speed == pytest.approx(1000)


def test_a_clock_that_stands_still_or_goes_back_does_no_harm() -> None:
    meter = metered(1000, seconds=1)
    meter.add(500, 1.0)
    meter.add(500, 0.5)
    assert meter.speed == pytest.approx(1000)
