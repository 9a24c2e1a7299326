"""HTTP by our own rules: the only package that imports httpx.

One :class:`~modelfetch.net.client.Client` per run. It asks for byte ranges, follows redirects by hand, keeps
credentials at their origin, judges every answer before a byte of it is used, and turns every foreign error
into a :class:`modelfetch.errors.SourceError`. It never retries: the transfer does, because only it can see
how much was good.
"""

import sys

# Where click is installed, httpx loads its own command line with it, and so pygments and rich: 60 ms of a
# start. None makes that import fail (Python reference, 5.3.1), for which httpx is prepared.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
