"""The HTTP server: jobs over HTTP, server-sent events and a web panel. Needs the extra ``serve``.

``docs/reference/http-api.md`` is its contract. A job is a run of the same engine that a command runs, in a
thread of its own. Everything the server reports about a job is computed from the events of that run.
"""

from modelfetch.errors import UsageError

# Checked here, before any module of the package imports them, so that a missing extra gives one clear
# message.
try:
    import sse_starlette as _sse_starlette  # noqa: F401 - imported only to see whether it is installed
    import starlette as _starlette  # noqa: F401
    import uvicorn as _uvicorn  # noqa: F401
except ModuleNotFoundError as missing:
    raise UsageError(
        f"the server needs {missing.name}, which is not installed", hint="pip install 'modelfetch[serve]'"
    ) from missing
