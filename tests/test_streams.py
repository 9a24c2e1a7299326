"""The ends of the standard streams: what fails there never fails the writer, and lost data is remembered."""

from __future__ import annotations

import errno
import io
import os
import sys
import threading

import pytest

from modelfetch.streams import Outlet, write_path


class Refusing(io.RawIOBase):
    """A descriptor that gives a list of answers: how much it took, nothing for now, or an error."""

    def __init__(self, *answers: int | OSError | None) -> None:
        self.answers = list(answers)
        self.taken: list[bytes] = []

    def write(self, data: object, /) -> int | None:
        assert isinstance(data, bytes)
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        self.taken += [data[:answer]]
        return answer


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_talk_that_cannot_be_written_is_lost_and_the_next_is_not() -> None:
    raw = Refusing(FULL, 4)
    outlet = Outlet(raw, is_data=False)
    assert [outlet.write(b"lost"), outlet.write(b"told")] == [4, 4]
    assert raw.taken == [b"told"]


def test_data_ends_at_the_first_gap_and_the_reason_is_kept() -> None:
    raw = Refusing(2, FULL, 4)
    outlet = Outlet(raw, is_data=True)
    assert [outlet.write(b"ab"), outlet.write(b"cd"), outlet.write(b"efgh")] == [2, 2, 4]
    assert raw.taken == [b"ab"]
    assert outlet.error is FULL


def test_a_descriptor_that_does_not_block_is_waited_for() -> None:
    """Whoever shares it may have set it so: an ssh client, a program that runs others."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data = bytes(1 << 20)  # more than a pipe holds
    with open(reading, "rb") as source, open(writing, "wb", buffering=0) as sink:
        read: list[bytes] = []
        reader = threading.Thread(target=lambda: read.append(source.read(len(data))))
        reader.start()
        with io.BufferedWriter(Outlet(sink, is_data=True)) as writer:
            writer.write(data)
        reader.join()
    assert read == [data]


def test_a_broken_pipe_is_told_from_a_full_device() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb", buffering=0) as sink:
        outlet = Outlet(sink, is_data=True)
        outlet.write(b"nobody reads this")
    assert isinstance(outlet.error, BrokenPipeError)


@pytest.mark.parametrize("is_data", [True, False])
def test_an_outlet_is_the_descriptor_it_stands_for(is_data: bool) -> None:
    with open(os.devnull, "wb", buffering=0) as raw:
        outlet = Outlet(raw, is_data=is_data)
        assert (outlet.fileno(), outlet.isatty(), outlet.writable()) == (raw.fileno(), False, True)


def test_a_path_on_a_terminal_does_not_wait_for_the_next_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else messages on stderr would appear before a path that was written earlier."""
    raw = io.BytesIO()
    terminal = io.TextIOWrapper(io.BufferedWriter(raw), line_buffering=True)
    monkeypatch.setattr(sys, "stdout", terminal)
    write_path("/models/demo/1")
    assert raw.getvalue() == b"/models/demo/1\n"
    monkeypatch.undo()
