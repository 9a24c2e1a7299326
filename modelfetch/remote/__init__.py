"""The client of a running server: submits jobs, follows them, and cancels them over HTTP.

``docs/reference/http-api.md`` is the contract. Following a job yields the same events as a run in this
process, so every reporter of runs works for jobs too. A connection that is cut is opened again and resumes
where it stopped.
"""

from modelfetch.remote.client import Job, ServerClient, Snapshot, shorten
from modelfetch.remote.errors import no_server
from modelfetch.remote.follower import ReconnectPolicy
from modelfetch.remote.remote_run import Run
from modelfetch.remote.server_url import Address, NoTokenError, find_address

__all__ = [
    "Address",
    "Job",
    "NoTokenError",
    "ReconnectPolicy",
    "Run",
    "ServerClient",
    "Snapshot",
    "find_address",
    "no_server",
    "shorten",
]
