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
    try:
        if not {"--quiet", "-q"}.intersection(sys.argv):
            os.write(2, "".join(f"{words}\n" for _, words in models).encode())
        os.write(1, "".join(f"{directory}\n" for directory, _ in models).encode())
    except BrokenPipeError:
        sys.exit(141)
    directories = [directory for directory, _ in models]
    count(directories[0].rsplit(os.sep, 3)[0], directories)


if __name__ == "__main__":
    main()
