"""Where bytes can come from: one module per kind, all behind one small interface.

A source knows where one model's files might lie and makes :class:`~modelfetch.sources.base.Offer` objects
of it; an offer is opened at an offset and yields bytes. No source is trusted, and none vouches for another.
"""
