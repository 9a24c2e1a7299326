"""The table of the shared endpoints: the second part of the table of the HTTP API.

Like :mod:`modelfetch.server.api_table`, but for requests without a token. The OpenAPI description has these
rows only if the server shares its cache. Every row has ``is_shared=True``::

    Endpoint("GET", "/blobs/sha256/{digest}", "getBlob", "shared", "Send a file", FILE, is_shared=True)

HEAD is answered wherever GET is, and has no rows.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from modelfetch.model.json_schema import Schema
from modelfetch.server.api_table import Answer, Endpoint, Parameter
from modelfetch.store.in_progress import MOST_RANGES

OCTETS: Final = "application/octet-stream"
_BYTES: Final[Schema] = {"type": "string", "contentMediaType": OCTETS}

FILE: Final = (
    Answer(HTTPStatus.OK, _BYTES, "The file.", OCTETS),
    Answer(HTTPStatus.PARTIAL_CONTENT, _BYTES, "The range of the file.", OCTETS),
    Answer(HTTPStatus.NOT_MODIFIED, None, "The client has the file."),
)
"""The answers of an endpoint that sends a file."""
FILE_CODES: Final = (
    *("not_found", "precondition_failed", "bad_range", "too_many_transfers", "fetch_queue_full"),
    *("origin_failed", "origin_refused", "origin_too_slow", "origin_offline"),
    *("disk_full", "fetch_cancelled", "stopping"),
)
"""Codes of its errors; those of the last two lines only with ``serve --fetch``."""
RANGE: Final = Parameter(
    "Range", "header", {"type": "string"}, "One range of bytes; several are answered with the whole file."
)

_BYTES_20: Final[Schema] = {"type": "string", "description": "20 bytes, percent-encoded"}
ANNOUNCE: Final = (
    Parameter("info_hash", "query", _BYTES_20, "The first 20 bytes of the infohash."),
    Parameter("peer_id", "query", _BYTES_20, "What the machine calls itself."),
    Parameter(
        "port", "query", {"type": "integer"}, "Its port for peers; its address is that of the request."
    ),
    Parameter("left", "query", {"type": "integer"}, "Bytes that it does not have yet; 0 for a seed."),
    Parameter("event", "query", {"type": "string"}, "`stopped` when it leaves."),
    Parameter("numwant", "query", {"type": "integer"}, "Most machines in the answer; at most 50."),
)
PREFER: Final = Parameter(
    "Prefer",
    "header",
    {"type": "string"},
    "`respond-async, wait=N`: answer 202 if the file is being fetched, after N seconds at most.",
)
_ON_ITS_WAY: Final[Schema] = {
    "type": "object",
    "required": ["received", "size", "begun", "available"],
    "properties": {
        "received": {"type": "integer", "minimum": 0},
        "size": {"type": "integer", "minimum": 0},
        "begun": {"type": ["number", "null"], "minimum": 0},
        "available": {
            "type": "array",
            "maxItems": MOST_RANGES,
            "items": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0},
                "minItems": 2,
                "maxItems": 2,
            },
        },
    },
}
BLOB: Final = (
    *FILE,
    Answer(HTTPStatus.ACCEPTED, _ON_ITS_WAY, "A process of the machine is fetching the file."),
)
"""The answers of a blob; 202 only to a client that asked for it."""


def _foreign(
    path: str,
    name: str,
    summary: str,
    answers: tuple[Answer, ...],
    parameters: tuple[Parameter, ...] = (),
    method: str = "GET",
) -> Endpoint:
    """Return the row of an endpoint that another API defines."""
    missing = Answer(HTTPStatus.NOT_FOUND, None, "Not found, in the form of that API.")
    unchanged = () if answers is FILE else (FILE[-1],)
    return Endpoint(
        *(method, path, name, "shared", summary, (*answers, *unchanged, missing)),
        parameters=parameters,
        is_shared=True,
        is_foreign=True,
    )


SHARED_ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        *("GET", "/blobs/sha256/{digest}", "getBlob", "shared", "Send a verified file by its SHA-256", BLOB),
        codes=FILE_CODES,
        parameters=(RANGE, PREFER),
        is_shared=True,
    ),
    Endpoint(
        *("GET", "/announce", "announce", "shared", "Announce a machine to the tracker of a swarm"),
        (
            Answer(
                HTTPStatus.OK,
                {"type": "string"},
                "Other machines with the same torrent, or a failure reason, in bencode (BEP 3, BEP 23).",
                "text/plain",
            ),
        ),
        parameters=ANNOUNCE,
        is_shared=True,
    ),
    _foreign(
        "/ipfs/{content:path}",
        "getBlocks",
        "Send a block of IPFS, or a CAR file",
        (
            Answer(
                HTTPStatus.OK, _BYTES, "The blocks, which the client verifies.", "application/vnd.ipld.car"
            ),
        ),
    ),
    _foreign("/v2/{item:path}", "getRegistryItem", "Send a manifest or blob as an OCI registry", FILE),
    *(
        _foreign(
            f"/api/{kind}s/{{repo:path}}",
            f"get{kind.title()}Repository",
            f"Describe a {kind} repository as Hugging Face does",
            (Answer(HTTPStatus.OK, {"type": ["object", "array"]}, "The document of that API."),),
        )
        for kind in ("model", "dataset", "space")
    ),
    *(
        _foreign(
            f"/api/{kind}s/{{repo:path}}/paths-info/{{revision}}",
            f"query{kind.title()}Paths",
            f"Describe some files of a {kind} repository as Hugging Face does",
            (Answer(HTTPStatus.OK, {"type": "array"}, "The files and folders that the body names."),),
            method="POST",
        )
        for kind in ("model", "dataset", "space")
    ),
    *(
        _foreign(
            f"{prefix}/resolve/{{file:path}}",
            f"getFile{number}",
            "Send a file of a repository as Hugging Face does",
            FILE,
            (RANGE,),
        )
        for number, prefix in enumerate(("/{name}", "/{owner}/{repo}", "/{type}/{owner}/{repo}"), 1)
    ),
)
"""Every shared endpoint; see :func:`modelfetch.server.shared_endpoints.shared_routes`."""
