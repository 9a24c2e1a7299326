"""The bars: what is seen at each width, that they fit, and what stays on the screen."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Sequence
from itertools import islice

import pytest
from rich.cells import cell_len
from rich.console import Console

from modelfetch import tracing
from modelfetch.engine.events import (
    ErrorInfo,
    Event,
    FileResult,
    LockWaiting,
    Planned,
    RetryScheduled,
    RunFinished,
    RunStarted,
    SourceFailed,
)
from modelfetch.engine.state import RunState
from modelfetch.notices import Notices
from modelfetch.reporters.bars import Bars
from modelfetch.reporters.bars_draw import DrawOptions, draw
from modelfetch.reporters.bars_layout import columns, scene, shorten
from modelfetch.reporters.terminal_text import ASCII, UNICODE, Symbols
from modelfetch.settings.secret_values import KnownSecrets
from tests.patience import IN_TIME
from tests.screen import Screen
from tests.scripted import (
    FILES,
    MODEL,
    Timed,
    already_there,
    at_once,
    check,
    committed,
    completed,
    download,
    failed,
    planned,
    play,
    progress,
    stamped,
    started,
)

MANY = [*FILES, *((f"extra/file-{n}.onnx", 70_000_000 + n) for n in range(4))]
BIG, MEDIUM = FILES[0], FILES[1]


def under_way(files: Sequence[tuple[str, int]] = FILES) -> list[Timed]:
    """Get to the middle of a run: one file half there, one waiting for a retry, one done, others to come."""
    timed = at_once([RunStarted("ensure", (MODEL,)), planned(files)])
    timed += [(1.0, started(*BIG)), (1.0, started(*MEDIUM, 20_000_000)), (1.0, started(*FILES[2]))]
    timed += [(1 + n / 10, progress(BIG[0], n * 10_000_000, BIG[1])) for n in range(11)]
    timed += [(2.0, RetryScheduled(MODEL, MEDIUM[0], "mirror", "m.example", 2, "busy", "503", 3.2))]
    return [*timed, (2.0, committed(*FILES[2]))]


def picture(
    timed: Iterable[Timed], width: int, height: int = 24, symbols: Symbols = UNICODE, later: float = 0.0
) -> list[str]:
    """Draw the state after some events as plain text."""
    state = RunState()
    for at, event in timed:
        state.apply(event, at)
    taken = scene(state, height)
    options = DrawOptions(symbols, width, height, state.now + later)
    return [line.plain for line in draw(taken, options, taken.longest)]


AT_100 = """\
↓ …decoder_model_merged.onnx  ━━━━━━╸───────   47%    100/209 MB   100 MB/s  ETA 1s      huggingface
↻ onnx/encoder_model.onnx     ━━━───────────   24%  20.0/82.5 MB  retrying in 3s         mirror
✓ tokenizer.json              ━━━━━━━━━━━━━━  100%       2.48 MB                         huggingface
· vocab.json                  ──────────────    0%       1.04 MB
· merges.txt                  ──────────────    0%        494 kB
· tokenizer_config.json       ──────────────    0%        283 kB
· generation_config.json      ──────────────    0%       3.83 kB
· config.json                 ──────────────    0%       2.24 kB
· preprocessor_config.json    ──────────────    0%         339 B
↓ 1 of 9 files                ━━━━━╸────────   41%    122/295 MB   100 MB/s  ETA 2s
"""


def test_100_columns_show_everything() -> None:
    assert picture(under_way(), 100) == AT_100.splitlines()


def test_80_columns_drop_the_source() -> None:
    assert picture(under_way(), 80)[:2] == [
        "↓ …/decoder_model_merged.onnx   ━━━╸────   47%    100/209 MB   100 MB/s  ETA 1s",
        "↻ onnx/encoder_model.onnx       ━╸──────   24%  20.0/82.5 MB  retrying in 3s",
    ]


def test_60_columns_keep_bar_percent_speed_and_eta() -> None:
    assert picture(under_way(), 60)[:3] == [
        "↓ decoder_mod…erged.onnx  ━━━╸────   47%   100 MB/s  ETA 1s",
        "↻ …/encoder_model.onnx    ━╸──────   24%  retrying in 3s",
        "✓ tokenizer.json          ━━━━━━━━  100%",
    ]


def test_40_columns_keep_name_and_percent() -> None:
    assert picture(under_way(), 40)[:3] == [
        "↓ onnx/decoder_model_merged.onnx   47%",
        "↻ onnx/encoder_model.onnx          24%",
        "✓ tokenizer.json                  100%",
    ]


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("width", [1, 2, 5, 10, 20, 39, 53, 54, 75, 76, 95, 96, 119, 120, 200, 500])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    wide = [("模型/とても長い名前のファイル.onnx", 70_000_000), *MANY]
    for line in picture(under_way(wide), width):
        assert cell_len(line) <= width


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 8, 13, 14, 24])
def test_the_picture_is_no_higher_than_the_terminal_and_ends_with_the_total(height: int) -> None:
    lines = picture(under_way(MANY), 100, height)
    assert len(lines) <= height
    assert lines[-1].startswith("↓ 1 of 13 files")


def test_13_files_fit_24_lines_in_the_order_of_the_plan() -> None:
    lines = picture(under_way(MANY), 100, height=23)
    assert len(lines) == 14
    assert [line.split()[1] for line in lines[2:13]] == [path for path, _ in MANY[2:]]


def test_without_room_finished_and_queued_files_become_one_line() -> None:
    assert [line.split("  ")[0] for line in picture(under_way(MANY), 100, height=8)] == [
        "↓ …decoder_model_merged.onnx",
        "↻ onnx/encoder_model.onnx",
        "✓ 1 done · 10 queued",
        "↓ 1 of 13 files",
    ]


def test_failed_files_stay_in_sight() -> None:
    lost = SourceFailed(MODEL, FILES[5][0], "url", "u", "hash", "wrong", "", 0, "", "")
    lines = picture([*under_way(MANY), (3.0, lost)], 100, height=8)
    assert [line[0] for line in lines] == ["↓", "↻", "✗", "✓", "↓"]


def test_a_countdown_runs_by_itself() -> None:
    assert "retrying in 3s" in picture(under_way(), 100)[1]
    assert "retrying in 2s" in picture(under_way(), 100, later=1.5)[1]
    assert "retrying now" in picture(under_way(), 100, later=3.0)[1]


def test_words_stand_where_there_is_no_speed() -> None:
    opening = [*under_way(), (2.1, started(*FILES[3]))]
    assert "connecting" in picture(opening, 100)[3]
    whole = [*opening, (2.2, progress(*FILES[3], FILES[3][1]))]
    assert "verifying" in picture(whole, 100)[3]
    locked = [*under_way(), (2.1, LockWaiting(MODEL, FILES[3][0], "process 4711", 0.0))]
    assert "waiting" in picture(locked, 100)[3]


@pytest.mark.parametrize(("width", "rest"), [(100, "huggingface"), (80, ""), (60, "")])
def test_for_how_long_no_byte_came_stands_in_place_of_speed_and_eta(width: int, rest: str) -> None:
    still = progress(BIG[0], 100_000_000, BIG[1])
    lines = picture([*under_way(FILES[:1]), *((2.0 + n, still) for n in range(1, 13))], width)
    for line, end in ((lines[0], rest), (lines[-1], "")):
        assert "no data for 12 s" in line
        assert line.partition("no data for 12 s")[2].strip() == end


def test_a_wait_is_told_in_words_above_the_total() -> None:
    wait = LockWaiting(MODEL, FILES[3][0], "process 4711 on builder since 06:00:12", 5.0)
    line = picture([*under_way(), (2.1, wait)], 100, later=2.0)[-2]
    assert line[2:] == "waiting for process 4711 on builder since 06:00:12 (7s)"


def test_before_there_is_a_plan_something_moves_all_the_same() -> None:
    begun: list[Timed] = [(0.0, RunStarted("ensure", (MODEL, "tts")))]
    assert picture(begun, 100) == ["⠋ planning whisper-base, tts"]
    assert picture(begun, 100, later=0.1) == ["⠙ planning whisper-base, tts"]
    assert picture([(0.0, RunStarted("verify", (MODEL,)))], 100) == ["⠋ checking whisper-base"]


def test_files_that_were_there_are_called_kept() -> None:
    assert all(line.endswith("kept") for line in picture(at_once(already_there()[:-2]), 100)[:-1])


def test_a_check_has_no_source() -> None:
    lines = picture(at_once(check()[:-2]), 120)
    assert lines[-2].startswith("≈ preprocessor_config.json")
    assert lines[-1].startswith("≈ 8 of 9 files")
    assert not any("cache" in line for line in lines)


def test_ascii_stands_in_for_every_sign() -> None:
    assert all(line.isascii() for line in picture(under_way(), 100, symbols=ASCII))
    assert "#######-------" in picture(under_way(), 100, symbols=ASCII)[0]


def test_several_models_name_theirs() -> None:
    timed = at_once([RunStarted("ensure", (MODEL, "tts")), planned([("a.onnx", 5)])])
    assert picture(timed, 100)[0].startswith("· whisper-base/a.onnx")


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        (30, "onnx/decoder_model_merged.onnx"),
        (29, "…/decoder_model_merged.onnx"),
        (27, "…/decoder_model_merged.onnx"),
        (26, "…decoder_model_merged.onnx"),
        (25, "decoder_mode…_merged.onnx"),
        (10, "decod…onnx"),
        (2, "d…"),
        (1, "…"),
    ],
)
def test_a_long_name_loses_directories_first_and_its_middle_then(cells: int, shown: str) -> None:
    assert shorten("onnx/decoder_model_merged.onnx", cells, "…") == shown
    assert cell_len(shown) <= cells


def test_a_deep_path_keeps_its_start() -> None:
    assert shorten("onnx/some/deep/directory/model.onnx", 24, "…") == "onnx/some/de…/model.onnx"


def test_wide_characters_are_counted_as_two() -> None:
    assert cell_len(shorten("模型模型模型模型模型.onnx", 12, "…")) <= 12


def test_columns_never_need_more_than_the_width() -> None:
    for width in range(54, 300):
        for longest in (1, 20, 400):
            used = columns(width, longest)
            cells = (used.bar, used.percent, used.sizes, used.speed, used.eta, used.source)
            assert 2 + used.name + sum(2 + n for n in cells if n) <= width


def shown(timed: Iterable[Timed], width: int = 100, height: int = 24) -> Screen:
    """Play a run on a screen, drawing after every event."""
    out = io.StringIO()
    bars = Bars(out, console=Console(file=out, width=width, height=height, force_terminal=True))

    class Drawn:
        def report(self, record: object) -> None:
            bars.report(record)  # type: ignore[arg-type]
            bars._live.refresh()

        def close(self) -> None:
            bars.close()

    play(timed, Drawn())
    screen = Screen(width, height)
    screen.feed(out.getvalue())
    return screen


def test_what_comes_up_beside_the_stream_stays_above_the_bars() -> None:
    out, notices = io.StringIO(), Notices()
    notices.add("this project uses printer")
    console = Console(file=out, width=100, height=24, force_terminal=True)
    play(at_once(download()), Bars(out, notices, console=console))
    screen = Screen(100, 24)
    screen.feed(out.getvalue())
    assert "note: this project uses printer" in screen.text[0]


def test_after_a_download_one_line_is_left() -> None:
    screen = shown(at_once(download()))
    assert screen.text == [
        "whisper-base  9 files, 295 MB; 9 to fetch, 295 MB",
        "✓ whisper-base is ready · 295 MB in 4.6s (64.2 MB/s) · from huggingface 9 files",
    ]
    assert screen.has_cursor


def test_a_warm_run_leaves_one_line() -> None:
    assert shown(at_once(already_there())).text == [
        "✓ whisper-base is ready · 9 files, 295 MB, already present",
    ]


def test_retries_and_fallbacks_stay_and_repeated_ones_are_counted() -> None:
    gone = [
        SourceFailed(
            MODEL, path, "mirror", "m.example", "not_found", "404 Not Found", "", 0, "huggingface", "h"
        )
        for path, _ in FILES
    ]
    retry = RetryScheduled(MODEL, BIG[0], "huggingface", "h", 2, "busy", "503 Service Unavailable", 2.1)
    events = [*download()[:2], *gone, retry, *download()[2:]]
    assert shown(at_once(events)).text[1:4] == [
        "↪ onnx/decoder_model_merged.onnx  mirror m.example: 404 Not Found → huggingface",
        "↻ onnx/decoder_model_merged.onnx  huggingface h: 503 Service Unavailable; attempt 2 in 2.1s",
        "↪ … and 8 more files  mirror m.example: 404 Not Found → huggingface",
    ]


def test_a_note_wraps_behind_its_sign() -> None:
    retry = RetryScheduled(MODEL, BIG[0], "huggingface", "h", 2, "busy", "503 Service Unavailable", 2.1)
    assert shown(at_once([*download()[:2], retry, *download()[2:]]), width=60).text[1:3] == [
        "↻ onnx/decoder_model_merged.onnx  huggingface h: 503 Service",
        "  Unavailable; attempt 2 in 2.1s",
    ]


def test_a_licence_is_told_before_the_first_byte() -> None:
    events = download()
    events[1] = planned(licence="AGPL-3.0")
    home = "https://huggingface.co/onnx-community/whisper-base"
    assert shown(at_once(events)).text[1] == f"license: AGPL-3.0 (as stated by the publisher; {home})"


def test_a_check_leaves_its_sum_and_the_bad_files() -> None:
    begun, *rest = check()
    assert shown(at_once([begun, planned(), *rest])).text == ["✓ 9 files, 295 MB verified in 2.9s"]
    damaged = ((17 << 20, 18 << 20),)
    bad = SourceFailed(MODEL, "vocab.json", "cache", "", "hash", "differs", "", 0, "", "", damaged)
    results = (FileResult(MODEL, "vocab.json", "failed", "hash", "cache", 5),)
    end = RunFinished("failed", 5, 1.0, results, ErrorInfo("integrity", "1 bad file", ""))
    assert shown(at_once([*check()[:-1], bad, end])).text == [
        "✗ vocab.json  hash 17.0-18.0 MiB",
        "✗ 0 of 1 file, 0 B verified in 2.9s",
    ]


def test_a_failed_run_leaves_what_is_there_and_not_the_error() -> None:
    screen = shown([*under_way(), (3.0, failed())])
    assert screen.text[-1] == "✗ 1 of 9 files complete, 122 MB of 295 MB kept"
    assert "no source could deliver" not in "\n".join(screen.text)


def test_a_cancelled_run_leaves_no_bars() -> None:
    end = RunFinished("cancelled", 130, 1.0, (), ErrorInfo("cancelled", "cancelled", ""))
    screen = shown([*under_way(), (3.0, end)])
    assert "━" not in "\n".join(screen.text)
    assert screen.has_cursor


@pytest.mark.quick(1)
@pytest.mark.parametrize(("width", "height"), [(100, 24), (60, 24), (40, 24), (100, 5), (20, 3)])
def test_the_live_area_never_leaves_the_screen(width: int, height: int) -> None:
    screen = shown(at_once(download(MANY)), width, height)
    assert screen.lost == 0
    assert not any("━" in row or "─" in row for row in screen.history)


@pytest.mark.parametrize("width", [100, 80, 60, 40, 20])
def test_the_echo_of_ctrl_c_does_not_wrap(width: int) -> None:
    out = io.StringIO()
    bars = Bars(out, console=Console(file=out, width=width, height=24, force_terminal=True))
    seen: list[int] = []

    class Measured:
        def report(self, record: object) -> None:
            bars.report(record)  # type: ignore[arg-type]
            seen.extend(cell_len(str(line)) for line in bars._picture().renderables)

        def close(self) -> None:
            bars.close()

    play(under_way(MANY), Measured())
    assert max(seen) + len("^C") <= width


def test_no_color_leaves_no_colour() -> None:
    out = io.StringIO()
    play(
        at_once(download()),
        Bars(out, console=Console(file=out, width=100, force_terminal=True, no_color=True)),
    )
    colours = {f"\x1b[{number}m" for number in range(30, 38)}
    assert not any(colour in out.getvalue() for colour in colours)


def test_several_models_each_get_their_line() -> None:
    tts = Planned("tts", "1", "", "MIT", "", "", "/x", 5, 5, planned([("a", 5)]).files)
    events: list[Event] = [RunStarted("ensure", (MODEL, "tts")), planned([("a", 5)]), tts, committed("a", 5)]
    text = shown(at_once([*events, *completed([("a", 5)], fetched=5)])).text
    assert [line.split()[0] for line in text] == [MODEL, "tts", "✓"]


def test_rich_draws_by_itself_between_two_events() -> None:
    out = io.StringIO()
    bars = Bars(out, console=Console(file=out, width=100, height=24, force_terminal=True))
    waited = time.monotonic() + IN_TIME

    class Patient:
        def report(self, record: object) -> None:
            while "planning" not in out.getvalue() and time.monotonic() < waited:
                time.sleep(0.01)

        def close(self) -> None:
            """Nothing to give back."""

    play(at_once(download()), bars, Patient())
    assert "planning whisper-base" in out.getvalue()


def test_verbose_lines_are_above_the_bars_and_leave_them_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those after the end of the bars go to stderr again."""
    trace = tracing.Trace(tracing.EXCHANGES, KnownSecrets({}), clock=lambda: 0.0)
    monkeypatch.setattr(tracing, "active", trace)
    after: list[str] = []
    monkeypatch.setattr(tracing, "_print", after.append)
    out = io.StringIO()
    bars = Bars(out, console=Console(file=out, width=60, height=24, force_terminal=True))

    for record in islice(stamped(under_way()), len(under_way())):  # without the end of the run
        bars.report(record)
        bars._live.refresh()
        trace.say("GET")
    screen = Screen(60, 24)
    screen.feed(out.getvalue())
    assert screen.lost == 0
    text = screen.text
    assert text.count("[   0.000] GET") == len(under_way())
    assert [line for line in text if "of 9 files" in line] == [text[-1]]  # one total, below all else
    assert "GET" in text[-12]  # right above the nine files and the total
    bars.close()
    trace.say("the end")
    assert after == ["[   0.000] the end"]
