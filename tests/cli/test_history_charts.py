"""Small charts: true to their figures, in blocks or in plain signs."""

from __future__ import annotations

from datetime import date

from modelfetch.cli.history import by_day, draw

ROWS = [("2026-11-19", 100.0, "100 B"), ("2026-11-20", 50.0, "50 B"), ("2026-11-21", 0.0, "0 B")]


def test_bars_have_the_lengths_of_their_values() -> None:
    assert draw(ROWS, 10, is_ascii=False) == [
        "2026-11-19  ██████████  100 B",
        "2026-11-20  █████       50 B",
        "2026-11-21              0 B",
    ]


def test_plain_signs_do_as_well() -> None:
    assert draw(ROWS, 10, is_ascii=True)[:2] == [
        "2026-11-19  ##########  100 B",
        "2026-11-20  #####       50 B",
    ]


def test_a_fraction_of_a_sign_is_shown_and_what_is_not_nothing_is_seen() -> None:
    assert draw([("a", 100, ""), ("b", 33.75, ""), ("c", 0.001, "")], 10, is_ascii=False)[1:] == [
        "b  ███▍",
        "c  ▏",
    ]
    assert draw([("a", 100, ""), ("c", 0.001, "")], 10, is_ascii=True)[1] == "c  #"


def test_nothing_at_all_is_drawn_as_nothing() -> None:
    assert draw([], 10, is_ascii=False) == []
    assert draw([("a", 0, "0 B")], 4, is_ascii=False) == ["a        0 B"]


def test_days_are_added_up_and_none_is_left_out() -> None:
    day = date(2026, 2, 27)
    assert by_day([(date(2026, 3, 1), 5), (day, 1), (day, 2)]) == [
        (day, 3),
        (date(2026, 2, 28), 0),
        (date(2026, 3, 1), 5),
    ]
    assert by_day([]) == []
