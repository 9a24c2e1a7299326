"""modelfetch puts pinned models on a machine: any source, every byte verified.

The Python interface is three functions, described in :mod:`modelfetch.api`:

    >>> import modelfetch
    >>> directory = modelfetch.ensure("whisper-base")       # doctest: +SKIP

They are imported on first use, so that ``import modelfetch`` costs nothing; not even :mod:`typing` is.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modelfetch.api import ensure, stream, verify

__all__ = ["__version__", "ensure", "stream", "verify"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in ("ensure", "stream", "verify"):
        import modelfetch.api

        return getattr(modelfetch.api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
