"""Serve a model on loopback until Ctrl-C, well or badly, and say what was asked.

::

    python -m tests.origin --model whisper --catalog /tmp/catalog --pace 20M --mirror-fault cut

prints the environment for a shell in which ``modelfetch ensure whisper-like`` uses this origin.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.origin import faults
from tests.origin.models import ServedModel, model, whisper_like
from tests.origin.server import Origin

SMALL = {"config.json": 2_243, "tokenizer.json": 500_000, "model.onnx": 5_000_000}
BIG = {"config.json": 2_243, "model.onnx": 40_000_000}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted."""
    options = _parser().parse_args(arguments)
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # SIGINT too: a shell starts background jobs with it ignored
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as stack:
        servers = _servers(stack, options)
        with suppress(KeyboardInterrupt):
            _announce(_model(servers, options), servers)
            threading.Event().wait()
        for role, server in servers.items():
            print(_summary(role, server), file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.origin", description="Serve a model on loopback.")
    parser.add_argument(
        "--model", choices=("whisper", "small", "big"), default="whisper", help="295, 5.5 or 40 MB"
    )
    parser.add_argument("--catalog", type=Path, required=True, metavar="DIR", help="where the manifest goes")
    parser.add_argument("--port", type=int, default=0, help="of the origin; 0 for any")
    parser.add_argument("--pace", type=_rate, metavar="RATE", help="bytes per second and connection, as 20M")
    parser.add_argument("--fault", choices=faults.NAMED, help="how the origin misbehaves")
    parser.add_argument("--files", default="*", metavar="PATTERN", help="which files the faults are for")
    parser.add_argument("--times", type=int, help="how often each fault occurs; always if not given")
    parser.add_argument("--mirror", action="store_true", help="serve a mirror too, listed in the manifest")
    parser.add_argument("--mirror-fault", choices=faults.NAMED, help="how that mirror misbehaves")
    return parser


def _rate(text: str) -> float:
    factor = {"k": 1e3, "m": 1e6, "g": 1e9}.get(text[-1:].lower(), 1.0)
    return float(text.rstrip("kKmMgG")) * factor


def _servers(stack: ExitStack, options: argparse.Namespace) -> dict[str, Origin]:
    servers = {"origin": stack.enter_context(Origin(pace=options.pace, port=options.port))}
    if options.mirror or options.mirror_fault:
        servers["mirror"] = stack.enter_context(Origin(pace=options.pace))
    for role, name in (("origin", options.fault), ("mirror", options.mirror_fault)):
        if name:
            servers[role].fault(options.files, faults.NAMED[name], times=options.times)
    return servers


def _model(servers: dict[str, Origin], options: argparse.Namespace) -> ServedModel:
    origin, mirrors = servers["origin"], [server for role, server in servers.items() if role == "mirror"]
    if options.model == "whisper":
        return whisper_like(origin, mirrors=mirrors, catalog=options.catalog)
    files = SMALL if options.model == "small" else BIG
    return model(origin, files, name=f"{options.model}-like", mirrors=mirrors, catalog=options.catalog)


def _announce(served: ServedModel, servers: dict[str, Origin]) -> None:
    for role, server in servers.items():
        print(f"# {role} {server.endpoint}")
    for name, value in served.environment.items():
        print(f"export {name}={value}")
    print(
        f"# modelfetch ensure {served.name}   ({len(served.contents)} files, {served.size} bytes)", flush=True
    )


def _summary(role: str, server: Origin) -> str:
    requests, connections = len(server.requests), server.connections
    return f"{role}: {requests} requests, {server.bytes_sent} bytes sent, {connections} connections"


if __name__ == "__main__":
    raise SystemExit(main())
