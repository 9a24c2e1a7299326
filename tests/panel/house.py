"""A real server, the models it can install, and the origins they come from."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.command import Command, Running
from tests.e2e.ports import lasting_ports
from tests.origin import Origin, ServedModel, faults, model
from tests.patience import PATIENT

PACE = 2_000_000
"""Bytes per second and connection: a few megabytes are a bar that moves."""

TOKEN = "a-token-for-tests.no-secret"

HOSTILE = "\"><img src=x onerror=\"document.title='broken in'\"><script>document.title='broken in'</script>"
"""Markup that, taken for markup, changes the page's title."""


@dataclass(slots=True)
class House:
    """One server under test.

    Attributes:
        cli: The command with the cache and the catalog of the server.
        origin: Where models really come from, at `PACE`.
        mirror: A mirror that some models list first; it lies.
        url: Where the panel is, without a token.
        local: Where the server itself is, without a slash at the end.
        options: More options of the server.
    """

    cli: Command
    origin: Origin
    mirror: Origin
    url: str = ""
    local: str = ""
    options: tuple[str, ...] = ()
    _port: int = field(default_factory=lambda: lasting_ports(1)[0])
    _server: Running | None = None

    def serve(
        self, name: str, files: Mapping[str, int], *, title: str = "", **options: object
    ) -> ServedModel:
        """Add a model to the catalog, under a title if given."""
        served = model(self.origin, files, name=name, catalog=self.cli.catalog, **options)  # type: ignore[arg-type]
        if title:
            where = self.cli.catalog / f"{name}.toml"
            text = served.manifest.replace("\nversion", f"\ntitle = '''{title}'''\nversion", 1)
            where.write_text(text, encoding="utf-8")
        return self.cli.serve(served)

    def hold(self, name: str, *places: int) -> list[threading.Event]:
        """Stop the next download of ``model.onnx`` at each of these bytes until an event is set; the events.

        Whoever looks at a download, or acts in the middle of it, is not in a race with it.
        """
        releases = [threading.Event() for _ in places]
        held = [faults.stall(at, until=release) for at, release in zip(places, releases, strict=True)]
        self.origin.fault(f"*/{name}/*/model.onnx", faults.all_of(*held), times=1)
        return releases

    def start(self) -> None:
        """Start the server; a second time on the same port, with the same token."""
        arguments = ("serve", "--port", f"{self._port}", *self.options)
        self._server = self.cli.start(*arguments, MODELFETCH_SERVE_TOKEN=TOKEN)
        self._server.until(lambda running: "\n" in running.out)
        self.url, _, token = self._server.out.strip().partition("#token=")
        assert token, self._server.out
        listening = re.search(r"listening on (\S+),", self._server.err)
        self.local = (listening[1] if listening else self.url).rstrip("/")

    def kill(self) -> None:
        """End the server as a power cut would."""
        if self._server is not None:
            self._server.process.kill()
            self._server.process.wait()


@contextmanager
def house(home: Path, furnish: Callable[[House], None]) -> Iterator[House]:
    """A server of its own, with the models that `furnish` adds."""
    with ExitStack() as stack:
        origin, mirror = (stack.enter_context(Origin(pace=PACE)) for _ in range(2))
        made = House(Command(home), origin, mirror)
        made.cli.environment |= PATIENT
        furnish(made)
        stack.callback(made.kill)
        made.start()
        yield made
