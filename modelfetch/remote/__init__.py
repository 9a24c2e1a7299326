"""The client of a running server: its jobs, submitted, followed and ended from another process or machine.

``docs/reference/http-api.md`` is the contract. Following gives the same events as a run in this process, so
everything that tells about a run tells about a job.
"""

from modelfetch.remote.address import Address, NoTokenError, find_address
from modelfetch.remote.jobs import Job, Snapshot, shorten
from modelfetch.remote.listening import Patience
from modelfetch.remote.refusals import nobody
from modelfetch.remote.run import Run
from modelfetch.remote.server import Server

__all__ = [
    "Address",
    "Job",
    "NoTokenError",
    "Patience",
    "Run",
    "Server",
    "Snapshot",
    "find_address",
    "nobody",
    "shorten",
]
