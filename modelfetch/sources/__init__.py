"""Sources of files: one module per kind, all with the interface of :mod:`modelfetch.sources.base`.

A source lists the places that may have a file, as :class:`~modelfetch.sources.base.Offer` objects; an offer
is opened at an offset and yields bytes. No source is trusted: the digest in the manifest decides whether
bytes are right, whichever source sent them.
"""
