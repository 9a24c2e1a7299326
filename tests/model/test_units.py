"""Sizes, rates and durations as shown and as read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.model.units import (
    SIZE_LIMIT,
    format_duration,
    format_rate,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("n", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9994, "9.99 kB"),
        (9995, "10.0 kB"),
        (99949, "99.9 kB"),
        (99950, "100 kB"),
        (999499, "999 kB"),
        (999500, "1.00 MB"),
        (82468078, "82.5 MB"),
        (208521528, "209 MB"),
        (1_620_000_000, "1.62 GB"),
        (5 * 10**12, "5.00 TB"),
        (10**15, "1.00 PB"),
        (SIZE_LIMIT - 1, "9.22 EB"),
        (20_000 * SIZE_LIMIT, "184467 EB"),
    ],
)
def test_a_size_is_shown_in_decimal_units_with_three_digits(n: int, shown: str) -> None:
    assert format_size(n) == shown


@given(st.integers(0, SIZE_LIMIT - 1))
def test_a_shown_size_fits_seven_characters_and_is_near_the_truth(n: int) -> None:
    shown = format_size(n)
    assert len(shown) <= 7
    assert parse_size(shown) == pytest.approx(n, rel=0.006)


def test_a_rate_is_a_size_per_second() -> None:
    assert format_rate(12_345_678.9) == "12.3 MB/s"
    assert format_rate(0.2) == "0 B/s"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (3, "3s"),
        (59.6, "1m 00s"),
        (92, "1m 32s"),
        (3599.9, "1h 00m"),
        (7500, "2h 05m"),
        (100 * 3600, "4d 04h"),
    ],
)
def test_a_duration_is_shown_by_its_two_largest_units(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500", 500),
        ("0", 0),
        ("0 B", 0),
        ("8M", 8_000_000),
        ("8 MB", 8_000_000),
        ("8mb", 8_000_000),
        ("1 KiB", 1024),
        ("1ki", 1024),
        ("20 GiB", 20 * 1024**3),
        ("1.5GB", 1_500_000_000),
        (" 2 kB ", 2000),
        ("0.3 KiB", 307),
        ("9223372036854775807", SIZE_LIMIT - 1),
    ],
)
def test_a_size_is_read_with_decimal_and_binary_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "-1",
        "+1",
        "1e5",
        "1,5 GB",
        "8 Mbit",
        "8 M/s",
        "1  GB",
        "0x10",
        "١",
        "1.",
        ".5",
        "1_000",
        "1\x00",
    ],
)
def test_what_is_not_a_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="not a size; write for example"):
        parse_size(text)


@pytest.mark.parametrize("text", ["9223372036854775808", "8 EiB", "9999999999999999999 EB"])
def test_a_size_beyond_file_offsets_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_size(text)


def test_a_refused_size_cannot_reach_the_terminal_raw() -> None:
    with pytest.raises(ValueError) as caught:
        parse_size("\x1b[31m8M\n" + "9" * 5000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("45m", 2700),
        ("24h", 86_400),
        ("7d", 604_800),
        ("2 W", 1_209_600),
        ("1.5h", 5400),
        ("0s", 0),
    ],
)
def test_a_time_span_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1y", "1h 30m", "9999999d", "٣d", "1e3s"])
def test_what_is_not_a_time_span_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="not a time span; write for example"):
        parse_duration(text)
