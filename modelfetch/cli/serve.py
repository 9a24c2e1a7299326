"""``serve``: run a server, with jobs over HTTP and a web panel.

This module reads the options and prints the address; :mod:`modelfetch.server.serve` does the rest. It is
imported by the command only, as it needs the packages of the extra ``serve``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelfetch.cli import options
from modelfetch.cli.output import print_json, print_line, say, warn
from modelfetch.errors import StoreError
from modelfetch.signal_exit_codes import SIGPIPE_EXIT
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
Share = Annotated[
    bool,
    typer.Option(
        "--share", help="Let anyone who can connect read the cache's verified files, without the token."
    ),
]
Swarm = Annotated[
    bool,
    typer.Option("--swarm", help="Upload the present models to their swarms, and fetch from these."),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="NAME",
        help="Another name of this machine that clients use; may be given several times.",
        show_default=False,
    ),
]
Fetch = Annotated[
    bool,
    typer.Option("--fetch", help="With --share: fetch files of pinned models when clients ask for them."),
]
PinOnDemand = Annotated[
    bool,
    typer.Option("--pin-on-demand", help="With --fetch: pin public models that clients name."),
]
PinOnly = Annotated[
    list[str] | None,
    typer.Option(
        "--pin-only",
        metavar="PATTERN",
        help="With --pin-on-demand: only what is like ORG/* or ghcr.io/ORG/*; may be given several times.",
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
    share: Share = False,
    swarm: Swarm = False,
    allow_host: AllowHost = None,
    fetch: Fetch = False,
    pin_on_demand: PinOnDemand = False,
    pin_only: PinOnly = None,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Run a server: jobs over HTTP, and a web panel to follow them.

    Prints one line, its address with the token, as soon as it listens. Ctrl-C or SIGTERM stops it. Needs the
    extra `serve`: pip install 'modelfetch[serve]'.
    """
    from modelfetch.server.serve import serve
    from modelfetch.server.serve_options import Options
    from modelfetch.workspace import Workspace

    warn(Workspace.open({"cache_dir": cache_dir}))
    serve(
        Options(
            host=host,
            port=port,
            token=token,
            cert=cert,
            key=key,
            public_url=public_url,
            allow_add=allow_add,
            share=share,
            swarm=swarm,
            allow_hosts=tuple(allow_host or ()),
            fetch=fetch,
            pin_on_demand=pin_on_demand,
            pin_only=tuple(pin_only or ()),
        ),
        {"cache_dir": cache_dir},
        partial(
            _listening,
            json,
            opened=_opened(share=share, fetch=fetch, pin_on_demand=pin_on_demand, pin_only=pin_only or ()),
            swarm=swarm,
        ),
    )


def _opened(*, share: bool, fetch: bool, pin_on_demand: bool, pin_only: Sequence[str]) -> str:
    """Say what sharing opens to anyone who can connect; empty for nothing."""
    if not share:
        return ""
    if pin_on_demand:
        from modelfetch.server.pin_patterns import of_hub, registries

        hub = ["Hugging Face"] if of_hub(pin_only) else []
        places = " and ".join([*hub, *registries(pin_only)])
        return f"the models of this cache, and have it fetch public models of {places}"
    return f"the models of this cache{', and have it fetch the models of your catalogs' if fetch else ''}"


def _listening(json: bool, address: Address, token: str, *, opened: str = "", swarm: bool = False) -> None:
    """Print the address once the server listens, with notes on what other machines can do."""
    if opened and (address.public or not address.is_local):
        where = address.public or f"{address.bound}, port {address.port},"
        say(f"note: anyone who can connect to {where} can read {opened}")
    if swarm:
        say("note: anyone who reaches the port of the swarm (swarm.port) can fetch models that have one")
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
    if (error := lost()) is not None:  # of the line with address and token, so no client could connect
        is_closed = isinstance(error, ConnectionError)
        raise typer.Exit(SIGPIPE_EXIT if is_closed else StoreError.exit_code)
