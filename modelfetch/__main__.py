"""``modelfetch``, and ``python -m modelfetch``: the warm answer if there is one, else the command line."""

import os
import sys

INTERRUPTED = 130
"""128 + SIGINT: how shells tell that Ctrl-C ended a program."""

try:
    from modelfetch.warm import answer, count
except KeyboardInterrupt:  # before there was anything to tell
    os._exit(INTERRUPTED)


def main() -> None:
    """Entry point of the command."""
    try:
        _main()
    except KeyboardInterrupt:  # before or after all that has an end of its own to tell
        os._exit(INTERRUPTED)


def _main() -> None:
    models = answer(sys.argv[1:])
    if models is None:
        from modelfetch.cli import main as run

        run()
        return
    directories = [directory for directory, _ in models]
    if sys.stderr is not None and not {"--quiet", "-q"}.intersection(sys.argv):
        _say("".join(f"{words}\n" for _, words in models))
    try:
        os.write(1, os.fsencode("".join(f"{directory}\n" for directory in directories)))
    except OSError:
        from modelfetch.cli import print_paths

        print_paths(directories)
    count(directories[0].rsplit(os.sep, 3)[0], directories)


def _say(words: str) -> None:
    try:
        sys.stderr.write(words)
        sys.stderr.flush()
    except OSError:  # nobody hears it, and nobody needs it
        pass


if __name__ == "__main__":
    main()
