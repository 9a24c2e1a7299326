"""What the server works with: settings, catalogs and cache as they are now, and runs on them."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from modelfetch.engine.assemble import RunOptions
from modelfetch.engine.events import Event
from modelfetch.engine.stream import Reporter
from modelfetch.errors import ModelfetchError
from modelfetch.model.manifest import Manifest
from modelfetch.net.cancel import Cancellation
from modelfetch.server.life import Order
from modelfetch.workspace import Workspace


class Workshop:
    """The engine of the jobs (:class:`modelfetch.server.driver.Engine`).

    Settings and catalogs are read anew for each use, so a manifest that was added is known at once.

    Args:
        flags: Settings given on the command line of the server.
        environ: The environment, instead of that of the process.
        cwd: Where a project is looked for, instead of the working directory.
    """

    def __init__(
        self,
        flags: Mapping[str, object],
        *,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._flags = dict(flags)
        self._environ = environ
        self._cwd = cwd

    def open(self) -> Workspace:
        """Read settings and list catalogs.

        Raises:
            ConfigError: A setting or a named catalog is wrong.
        """
        return Workspace.open(self._flags, environ=self._environ, cwd=self._cwd)

    def find(self, model: str) -> Manifest:
        """Look a model up by its name or an alias.

        Raises:
            UnknownModelError: No catalog has it.
            ManifestError: Its manifest is wrong.
        """
        return self.open().manifests([model])[0]

    def play(self, order: Order, cancel: Cancellation, name: str) -> Generator[Event, None, None]:
        """Begin the run that an order asks for; others who wait for it are told its name."""
        workspace, options = self.open(), RunOptions(name=name)
        manifests = workspace.manifests([order.model])
        if order.operation == "model_verify":
            return workspace.verify(manifests, options, repair=order.repair, cancel=cancel)
        return workspace.ensure(manifests, options, cancel=cancel)

    def reporters(self) -> Sequence[Reporter]:
        """Make those who are told of a run beside its job: the history, as for a command."""
        try:
            return (self.open().recorder(),)
        except ModelfetchError:  # the run itself ends with it, and says so
            return ()
