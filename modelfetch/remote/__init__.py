"""The client of a running server: its jobs, submitted, followed and ended from another process or machine.

``docs/reference/http-api.md`` is the contract. Following gives the same events as a run in this process, so
everything that tells about a run tells about a job.
"""

from modelfetch.remote.client import Job, ServerClient, Snapshot, shorten
from modelfetch.remote.errors import nobody
from modelfetch.remote.follower import Patience
from modelfetch.remote.remote_run import Run
from modelfetch.remote.server_url import Address, NoTokenError, find_address

__all__ = [
    "Address",
    "Job",
    "NoTokenError",
    "Patience",
    "Run",
    "ServerClient",
    "Snapshot",
    "find_address",
    "nobody",
    "shorten",
]
