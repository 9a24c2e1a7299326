"""``modelfetch``, and ``python -m modelfetch``: the warm answer if there is one, else the command line."""

import os
import sys

from modelfetch.warm import answer, count


def main() -> None:
    """Entry point of the command."""
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
