"""Standard streams whose writes never fail.

A daemon, a GUI launcher or ``>&-`` starts a process without standard streams. A log may be on a full device,
the reader of a pipe may exit, and a terminal may use Latin-1. :func:`prepare` replaces the streams once, so
that no code that prints has to handle these cases. Messages that cannot be written are dropped. Data that
cannot be written is dropped, too, and :func:`lost` returns the error for the exit code.

Standard library only, and few modules of it: the warm path may end here (:mod:`modelfetch.warm`).
"""

import io
import os
import sys

TYPE_CHECKING = False  # importing typing takes as long as the whole warm path
if TYPE_CHECKING:
    from typing import Any


class Outlet(io.RawIOBase):
    """A raw stream whose writes never fail.

    Args:
        raw: The stream that gets the bytes.
        is_data: Whether everything after the first error is dropped. Data with a gap would be wrong; a
            message after a lost one is still useful.

    Attributes:
        is_data: As given.
        error: The latest error, if bytes were lost.
    """

    def __init__(self, raw: io.RawIOBase, *, is_data: bool) -> None:
        self._raw = raw
        self.is_data = is_data
        self.error: OSError | None = None

    def write(self, data: "Any", /) -> int:
        """Write some bytes, or drop them. If the descriptor is non-blocking, wait until it can be written."""
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
        """Always true."""
        return True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._raw.isatty()

    def fileno(self) -> int:
        """The descriptor."""
        return self._raw.fileno()


_data: Outlet | None = None
"""The raw stream of stdout, after :func:`prepare`."""


def prepare() -> None:
    """Replace stdout and stderr by streams that never fail; must be called before anything is written."""
    global _data  # noqa: PLW0603 - there is one stdout, as there is one sys.stdout
    for descriptor in range(3):
        _occupy(descriptor)
    _data = Outlet(_raw(sys.stdout, 1), is_data=True)
    sys.stdout = _text(sys.stdout, _data)
    sys.stderr = _text(sys.stderr, Outlet(_raw(sys.stderr, 2), is_data=False))


def _occupy(descriptor: int) -> None:
    """Open the null device under the number of a standard stream that is closed.

    Else the next file of the cache would get that number, and messages would be written into it. The system
    assigns the lowest free number, so this is called in ascending order. The device is opened for reading, so
    that a write fails and is noticed.
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
    """A text stream like Python's, which escapes characters that its encoding does not have."""
    is_prompt = outlet.isatty() or not outlet.is_data or getattr(stream, "write_through", False)
    return io.TextIOWrapper(
        io.BufferedWriter(outlet),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors="backslashreplace",
        newline="\n",
        line_buffering=is_prompt,
    )


def write_path(path: str) -> None:
    """Write a path to stdout on a line of its own, as the bytes that the file system has for it.

    A shell passes these bytes to the next program; encoded as text they could be another name.
    """
    sys.stdout.flush()
    if os.name == "nt" or not hasattr(sys.stdout, "buffer"):
        print(path)
    else:
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")
        # The buffer knows no lines: on a terminal the path would appear after the next message on stderr.
        if getattr(sys.stdout, "line_buffering", False):
            sys.stdout.flush()


def lost() -> OSError | None:
    """Flush stdout, and return the error if data was lost."""
    sys.stdout.flush()
    return _data.error if _data is not None else None
