"""HTTP client of modelfetch: the only package that imports httpx.

There is one :class:`~modelfetch.net.client.Client` per run. It requests byte ranges, follows redirects
itself, sends credentials to their own origin only, checks every response before its body is used, and
translates exceptions of httpx and sockets to :class:`modelfetch.errors.SourceError`. It does not retry after
a failure: the transfer in ``modelfetch.engine`` does, because only it knows how many bytes were verified.
"""

import sys

# Where click is installed, httpx also imports its own command line, and with it pygments and rich, which
# takes 60 ms. None in sys.modules makes that import fail (Python reference, 5.3.1); httpx catches the
# ImportError.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
