"""modelfetch puts pinned models on a machine: any source, every byte verified.

The Python interface is three functions and :class:`RunOptions`, described in :mod:`modelfetch.api`:

    >>> import modelfetch
    >>> directory = modelfetch.ensure("whisper-base")       # doctest: +SKIP

They are imported on first use, so that ``import modelfetch`` costs nothing; not even :mod:`typing` is.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modelfetch.api import RunOptions, ensure, stream, verify
    from modelfetch.version import __version__

__all__ = ["RunOptions", "__version__", "ensure", "stream", "verify"]

if not TYPE_CHECKING:  # else a type checker takes every misspelled name for an attribute

    def __getattr__(name: str) -> object:
        if name in ("RunOptions", "ensure", "stream", "verify"):
            import modelfetch.api

            return getattr(modelfetch.api, name)
        if name == "__version__":
            from modelfetch.version import __version__

            return __version__
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
