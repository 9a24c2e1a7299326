"""Run one command and print what it cost: exit status, wall and CPU seconds, peak memory in bytes.

Started by its path as ``python -I -S launch.py UNTIL FD COMMAND...``. A process of its own, and a small one,
because the peak memory of a child includes that of the process it was forked from: what is printed is never
less than this interpreter, about 9 MB.

UNTIL says when the clock stops: ``exit``, the command's end; ``terminal``, the same on a terminal that
somebody reads; ``connect``, its first connection to the listening socket FD, after which it is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket  # it would make this process larger

COLUMNS, LINES = 100, 30
"""Size of the terminal."""
PATIENCE = 30
"""Seconds a first connection is waited for."""


def main(until: str, listener: int, command: list[str]) -> None:
    """Run ``command`` with the output it would have in a script, and print the four numbers."""
    master, slave = _terminal() if until == "terminal" else (-1, -1)
    output = [(os.POSIX_SPAWN_DUP2, slave, fd) for fd in (0, 1, 2)] if slave >= 0 else _DISCARD
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=output)
    if until == "terminal":
        os.close(slave)
        _drain(master)
    if until == "connect":
        connection, stopped = _first_connection(listener)
        os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        status = 0 if os.WIFSIGNALED(status) else status
        connection.close()
        _forget_the_others(listener)
    else:
        _, status, usage = os.wait4(pid, 0)
        stopped = time.perf_counter()
    cpu = usage.ru_utime + usage.ru_stime
    print(os.waitstatus_to_exitcode(status), stopped - began, cpu, usage.ru_maxrss * 1024)


_DISCARD = [
    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
]


def _terminal() -> tuple[int, int]:
    import fcntl
    import struct
    import termios

    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    return master, slave


def _drain(master: int) -> None:
    """Read what is drawn until nobody has the terminal open any more."""
    try:
        while os.read(master, 65536):
            pass
    except OSError:  # EIO is how a terminal says so
        return


def _first_connection(listener: int) -> tuple[socket.socket, float]:
    """The first connection, and when it came in."""
    import socket

    with socket.socket(fileno=os.dup(listener)) as ear:
        ear.settimeout(PATIENCE)
        connection, _ = ear.accept()
        return connection, time.perf_counter()


def _forget_the_others(listener: int) -> None:
    """Take the connections of the killed process that nobody accepted, or the next run would get them."""
    import socket

    with socket.socket(fileno=os.dup(listener)) as ear:
        ear.setblocking(False)
        try:
            while True:
                ear.accept()[0].close()
        except BlockingIOError:
            return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
