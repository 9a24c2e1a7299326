"""The version of this release: of the package, in the User-Agent header, and in the server's status.

It stands in a module of its own so that every package may import it. ``modelfetch.__version__`` is the same.
"""

__version__ = "0.1.0"
