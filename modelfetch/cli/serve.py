"""``serve``: jobs over HTTP, and a panel to watch them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelfetch.cli import options
from modelfetch.cli.output import print_json, put, say, warn
from modelfetch.errors import StoreError
from modelfetch.streams import lost

if TYPE_CHECKING:
    from modelfetch.server.listen_address import Address


def serve(
    host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="Address or host name to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="PORT", min=0, max=65535, help="Port to listen on; 0 means any free port."
        ),
    ] = 8765,
    token: Annotated[
        str,
        typer.Option(
            "--token",
            metavar="TOKEN",
            envvar="MODELFETCH_SERVE_TOKEN",
            help="Token that clients must send; by default, a new one.",
            show_default=False,
            show_envvar=False,
        ),
    ] = "",
    cert: Annotated[
        Path | None,
        typer.Option("--cert", metavar="FILE", help="TLS certificate (PEM).", show_default=False),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", metavar="FILE", help="Private key of the certificate (PEM).", show_default=False
        ),
    ] = None,
    public_url: Annotated[
        str,
        typer.Option(
            "--public-url",
            metavar="URL",
            help="Address at a reverse proxy, such as https://models.example.org.",
            show_default=False,
        ),
    ] = "",
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
        Options(host, port, token, cert, key, public_url), {"cache_dir": cache_dir}, partial(_listening, json)
    )


def _listening(json: bool, address: Address, token: str) -> None:
    if not address.is_local:
        say(f"note: other machines can connect to {address.bound}, port {address.port}, with the token")
    if not address.is_local and not address.tls:
        say("note: the token is sent unencrypted; use --cert and --key for TLS")
    if json:
        print_json({"url": address.url, "public_url": address.public or None, "token": token})
    else:
        if address.public:
            say(f"note: listening on {address.url}, behind the reverse proxy at {address.public}")
        put(f"{address.shown}/#token={token}")
    if lost() is not None:  # nobody could ask it anything
        raise typer.Exit(StoreError.exit_code)
