"""``python -m modelfetch`` is the command ``modelfetch``."""

from modelfetch.cli import main

if __name__ == "__main__":
    main()
