"""The server: jobs over HTTP, followed by server-sent events, shown in a panel. Needs the extra ``serve``.

``docs/reference/http-api.md`` is its contract. A job is the same run of the same engine as a command's, in a
thread of its own; everything the server tells is a fold over its stream.
"""

from modelfetch.errors import UsageError

try:
    import sse_starlette as _sse_starlette  # noqa: F401 - is it there?
    import starlette as _starlette  # noqa: F401
    import uvicorn as _uvicorn  # noqa: F401
except ModuleNotFoundError as missing:
    raise UsageError(
        f"the server needs {missing.name}, which is not installed", hint="pip install 'modelfetch[serve]'"
    ) from missing
