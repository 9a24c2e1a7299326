"""``serve``: run a server, with jobs over HTTP and a web panel.

This module reads the options and prints the address; :mod:`modelfetch.server.serve` does the rest. It is
imported by the command only, as it needs the packages of the extra ``serve``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelfetch.cli import options
from modelfetch.cli.output import print_json, print_line, say, warn
from modelfetch.errors import StoreError
from modelfetch.streams import lost

if TYPE_CHECKING:
    from modelfetch.server.listen_address import Address


Host = Annotated[str, typer.Option("--host", metavar="HOST", help="Address or host name to listen on.")]
Port = Annotated[
    int,
    typer.Option(
        "--port", metavar="PORT", min=0, max=65535, help="Port to listen on; 0 means any free port."
    ),
]
ServerToken = Annotated[
    str,
    typer.Option(
        "--token",
        metavar="TOKEN",
        envvar="MODELFETCH_SERVE_TOKEN",
        help="Token that clients must send; by default, a new one.",
        show_default=False,
        show_envvar=False,
    ),
]
Cert = Annotated[
    Path | None,
    typer.Option("--cert", metavar="FILE", help="TLS certificate (PEM).", show_default=False),
]
Key = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="Private key of the certificate (PEM).", show_default=False),
]
PublicUrl = Annotated[
    str,
    typer.Option(
        "--public-url",
        metavar="URL",
        help="Address at a reverse proxy, such as https://models.example.org.",
        show_default=False,
    ),
]
AllowAdd = Annotated[
    bool | None,
    typer.Option(
        "--allow-add/--no-allow-add",
        help="Let clients add models by reference; default: only if no other machine can connect.",
        show_default=False,
    ),
]


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8765,
    token: ServerToken = "",
    cert: Cert = None,
    key: Key = None,
    public_url: PublicUrl = "",
    allow_add: AllowAdd = None,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Run a server: jobs over HTTP, and a web panel to follow them.

    Prints one line, its address with the token, as soon as it listens. Ctrl-C or SIGTERM stops it. Needs the
    extra `serve`: pip install 'modelfetch[serve]'.
    """
    from modelfetch.server.serve import Options, serve
    from modelfetch.workspace import Workspace

    warn(Workspace.open({"cache_dir": cache_dir}))
    serve(
        Options(host, port, token, cert, key, public_url, allow_add),
        {"cache_dir": cache_dir},
        partial(_listening, json),
    )


def _listening(json: bool, address: Address, token: str) -> None:
    """Print the address once the server listens, with notes on what other machines can do."""
    if not address.is_local:
        say(f"note: other machines can connect to {address.bound}, port {address.port}, with the token")
    if not address.is_local and not address.tls:
        say("note: the token is sent unencrypted; use --cert and --key for TLS")
    if json:
        print_json({"url": address.url, "public_url": address.public or None, "token": token})
    else:
        if address.public:
            say(f"note: listening on {address.url}, behind the reverse proxy at {address.public}")
        print_line(f"{address.shown}/#token={token}")
    if lost() is not None:  # the line with the address and token was lost, so no client could connect
        raise typer.Exit(StoreError.exit_code)
