"""The version of this release: of the package, in the User-Agent header, and in the server's status.

It stands in a module of its own so that every package may import it. ``modelfetch.__version__`` is the same.
"""

try:
    from modelfetch._version import __version__ as _number
except ImportError:
    _number = "0.1.0"

__version__: str = _number
# This is the file of a checkout: an editable install writes the other module. A build has a constant here:
# the version of the git tag (hatch_build.py).
