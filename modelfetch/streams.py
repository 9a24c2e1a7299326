"""The standard streams, made fit for whatever this process was started with.

A daemon, a GUI launcher or ``>&-`` starts a process without them, a log may lie on a full device, a reader
may go away, a terminal may speak Latin-1. :func:`prepare` puts streams of our own in their place once, so
that nobody who writes has to think of any of it: talk that cannot be written is lost, and data that cannot be
is remembered for the exit code (:func:`lost`). Standard library only, and light: the warm answer passes here.
"""

import io
import os
import sys

TYPE_CHECKING = False  # importing typing costs as much as the whole warm answer
if TYPE_CHECKING:
    from typing import Any


class Outlet(io.RawIOBase):
    """The end of a stream: writing to it never fails.

    Args:
        raw: Where the bytes go.
        is_data: Whether nothing may follow a gap: after the first failure all the rest is dropped.

    Attributes:
        is_data: As given.
        error: Why bytes were lost, if any were.
    """

    def __init__(self, raw: io.RawIOBase, *, is_data: bool) -> None:
        self._raw = raw
        self.is_data = is_data
        self.error: OSError | None = None

    def write(self, data: "Any", /) -> int:
        """Write some bytes, or lose them; wait where the other side set the descriptor not to block."""
        if self.error is None or not self.is_data:
            try:
                while (count := self._raw.write(data)) is None:
                    self._wait()
            except OSError as error:
                self.error = error
            else:
                return count
        return memoryview(data).nbytes

    def _wait(self) -> None:
        import select

        select.select([], [self._raw], [])

    def writable(self) -> bool:
        """It is."""
        return True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._raw.isatty()

    def fileno(self) -> int:
        """The descriptor."""
        return self._raw.fileno()


_data: Outlet | None = None
"""The end of stdout, once it was prepared."""


def prepare() -> None:
    """Put streams that never fail in the place of stdout and stderr; nothing may have been written yet."""
    global _data  # noqa: PLW0603 - there is one stdout, as there is one sys.stdout
    for descriptor in range(3):
        _occupy(descriptor)
    _data = Outlet(_raw(sys.stdout, 1), is_data=True)
    sys.stdout = _text(sys.stdout, _data)
    sys.stderr = _text(sys.stderr, Outlet(_raw(sys.stderr, 2), is_data=False))


def _occupy(descriptor: int) -> None:
    """Take the number of a closed standard stream: else a file of the cache would get it, and our words.

    Called in the order of the numbers: the system gives the lowest free one. What is opened cannot be written
    to, so that whoever writes there is told.
    """
    try:
        os.fstat(descriptor)
    except OSError:
        os.open(os.devnull, os.O_RDONLY)


def _raw(stream: object, descriptor: int) -> io.RawIOBase:
    buffer = getattr(stream, "buffer", None)
    if buffer is None:  # Python has no stream for a descriptor that was closed
        return io.FileIO(descriptor, "w", closefd=False)
    raw: io.RawIOBase = getattr(buffer, "raw", buffer)
    return raw  # unbuffered (python -u) it is the raw one itself


def _text(stream: object, outlet: Outlet) -> io.TextIOWrapper:
    """A text stream as Python makes it, but for characters that its encoding does not have."""
    is_prompt = outlet.isatty() or not outlet.is_data or getattr(stream, "write_through", False)
    return io.TextIOWrapper(
        io.BufferedWriter(outlet),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors="backslashreplace",
        newline="\n",
        line_buffering=is_prompt,
    )


def write_path(path: str) -> None:
    """Write a path to stdout, a line of its own, as the bytes that the system has it by.

    A shell hands them to the next program: what a stream's encoding would make of them is another name.
    """
    sys.stdout.flush()
    if os.name == "nt" or not hasattr(sys.stdout, "buffer"):
        print(path)
    else:
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")


def lost() -> OSError | None:
    """Write out what is still to be written to stdout, and say why data was lost, if any was."""
    sys.stdout.flush()
    return _data.error if _data is not None else None
