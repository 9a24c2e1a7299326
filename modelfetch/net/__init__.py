"""HTTP by our own rules: the only package that imports httpx.

One :class:`~modelfetch.net.client.Client` per run. It asks for byte ranges, follows redirects by hand, keeps
credentials at their origin, judges every answer before a byte of it is used, and turns every foreign error
into a :class:`modelfetch.errors.SourceError`. It never retries: the transfer does, because only it can see
how much was good.
"""
