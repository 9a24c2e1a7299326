"""``modelfetch`` and ``python -m modelfetch``: the warm path if it has an answer, else the command line.

The warm path prints paths of models that are present (:mod:`modelfetch.warm`). It takes a few milliseconds
beyond the start of Python, so this module imports nothing else until it is known to be needed.
"""

import os
import sys

TYPE_CHECKING = False  # importing typing costs as much as the whole quick start
if TYPE_CHECKING:
    from typing import Never


def _end_interrupted() -> "Never":
    """End the process as Ctrl-C does, without a traceback."""
    from modelfetch.signal_exit_codes import SIGINT_EXIT  # here, as no other quick start needs it

    os._exit(SIGINT_EXIT)


try:
    from modelfetch.warm import answer, count, is_quiet, note_use
except KeyboardInterrupt:  # nothing has begun, so there is nothing to report
    _end_interrupted()


def main() -> None:
    """Entry point of the command."""
    try:
        _main()
    except KeyboardInterrupt:  # outside of the command line, which reports an interrupt itself
        _end_interrupted()


def _main() -> None:
    models = answer(sys.argv[1:])
    if models is None:
        from modelfetch.cli import main as run

        run()
        return
    directories = [directory for directory, _ in models]
    if sys.stderr is not None and not is_quiet(sys.argv[1:]):
        _say("".join(f"{words}\n" for _, words in models))
    try:
        # One write without Python's stream: a path is printed as the bytes that the system has for it.
        os.write(1, os.fsencode("".join(f"{directory}\n" for directory in directories)))
    except OSError:
        from modelfetch.cli import print_paths

        print_paths(directories)
    count(directories[0].rsplit(os.sep, 3)[0], directories)
    note_use(directories)


def _say(words: str) -> None:
    try:
        sys.stderr.write(words)
        sys.stderr.flush()
    except OSError:  # messages may be lost; only the paths on stdout matter
        pass


if __name__ == "__main__":
    main()
