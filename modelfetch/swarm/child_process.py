"""Starts the child process of the engine, and writes to it.

The child gets no secret: of the environment it has only what Python and the system's libraries need. It finds
the package where this process found it, also in a zip file. An application that was frozen into one program
(PyInstaller) has no interpreter that could run a module: there is no swarm in it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from modelfetch import threads
from modelfetch.errors import UnavailableError
from modelfetch.model.text import sanitize
from modelfetch.swarm.child import NOT_INSTALLED

_KEPT: Final = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),  # for trackers with https
)
"""Variables that the child gets."""
_STDERR_LINES: Final = 20
"""Last lines of stderr that are kept, of which the reason of an end shows one."""
_STDERR_LINE: Final = 2000
"""Most characters of a line."""
QUEUE_BYTES: Final = 16 * 1024 * 1024
"""Most bytes that wait to be written; then who adds a piece waits."""
_WRITE_SECONDS: Final = 30.0
"""Longest wait for a child that does not read; then it is killed."""


def check_available() -> None:
    """Check that there can be an engine.

    Raises:
        UnavailableError: libtorrent is not installed, or this Python cannot run it.
    """
    if getattr(sys, "frozen", False) or not sys.executable:
        raise UnavailableError(
            "the swarm needs an interpreter of Python that can be started again",
            hint="Use modelfetch as installed by pip, not inside of a frozen application.",
        )
    if find_spec("libtorrent") is None:
        raise UnavailableError(
            "the swarm needs libtorrent, which is not installed",
            hint="Install it: pip install 'modelfetch[swarm]'.",
        )


def command() -> list[str]:
    """The command line of the child."""
    return [sys.executable, "-P", "-m", "modelfetch.swarm.child"]


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the child: what it needs of this one, and where packages are found."""
    # The whole path in its order, so that nothing hides a module that it does not hide here.
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    return {name: environ[name] for name in _KEPT if name in environ} | {"PYTHONPATH": path}


def _apart() -> dict[str, Any]:
    """Return the options of Popen that keep Ctrl-C for this process, which ends the child in its own time."""
    if sys.platform == "win32":  # which sends it to all programs of a console: the child gets one of its own
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


class ChildProcess:
    """A child process with queues for what is written to it. Thread-safe, but for :meth:`wait`.

    On Linux it ends with the thread that makes it, so that must be one that reads from it to the end.

    Args:
        words: The command line.

    Raises:
        OSError: It cannot be started.
        StoreError: The system allows no more threads.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module, or what a test gives
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(os.environ),
            **_apart(),
        )
        assert self._process.stdout is not None
        self.output: Final = cast("BinaryIO", self._process.stdout)
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._is_closing = False
        self._changed = threading.Condition()
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._threads: list[threading.Thread] = []
        try:
            for work, name in ((self._write_all, "swarm-write"), (self._read_stderr, "swarm-stderr")):
                self._threads.append(threads.require(work, name))
        except BaseException:
            self.kill()
            with self._process:  # closes its pipes, and waits for its end
                raise

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._process.pid

    def send(self, frame: bytes, *, waits: bool = False) -> None:
        """Write a frame, in the order of the calls.

        Args:
            frame: The frame.
            waits: Whether to wait while much is queued; a child that reads nothing meanwhile is killed.
        """
        with self._changed:
            if waits and not self._changed.wait_for(self._has_room, _WRITE_SECONDS):
                self._process.kill()
            if not self._is_closing:
                self._queue.append(frame)
                self._queued += len(frame)
                self._changed.notify_all()

    def _has_room(self) -> bool:
        return self._queued <= QUEUE_BYTES or self._is_closing

    def close(self) -> None:
        """Close its input when all is written; it ends then."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()

    def kill(self) -> None:
        """Kill it."""
        self.close()
        self._process.kill()

    def wait(self) -> str:
        """Wait for its end, and say how it ended."""
        self.close()
        code = self._process.wait()
        for thread in self._threads:
            thread.join()
        self.output.close()
        how = f"ended with code {code}"
        if code < 0:
            name = signal.Signals(-code).name if -code in {*signal.Signals} else str(-code)
            how = f"was ended by signal {name}"
        last = next((line for line in reversed(self._stderr) if line), "")
        return f"the engine of the swarm {how}{f': {last}' if last else ''}"

    @property
    def is_impossible(self) -> bool:
        """Whether it ended because libtorrent cannot be loaded: another start would end like this one."""
        return self._process.returncode == NOT_INSTALLED

    def _write_all(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            while (frame := self._next()) is not None:
                stdin.write(frame)
                if not self._queue:
                    stdin.flush()
        except OSError:  # it has ended; who reads its output sees that, too
            self.close()
        try:
            stdin.close()
        except OSError:
            return

    def _next(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closing)
            if not self._queue:
                return None
            frame = self._queue.popleft()
            self._queued -= len(frame)
            self._changed.notify_all()
            return frame

    def _read_stderr(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        with stream:
            while line := stream.readline(_STDERR_LINE):
                self._stderr.append(sanitize(line.decode("utf-8", "replace").strip()))
