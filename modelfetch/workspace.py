"""Where commands and the Python interface start: settings, catalogs and cache, found together.

The engine, and HTTP with it, is imported when a run begins: half of all commands only look.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime, timedelta
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch.cancel import Cancellation
from modelfetch.catalog import Catalog
from modelfetch.demo import has_demo, serving
from modelfetch.errors import ModelfetchError, UnknownModelError, UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.manifest import Manifest
from modelfetch.model.text import sanitise
from modelfetch.notices import Notices
from modelfetch.settings import Loaded, load
from modelfetch.settings.config_files import trusted_owners
from modelfetch.settings.locations import working_directory
from modelfetch.store import Consulted, Removal, Store
from modelfetch.warm import circumstances, count, doubt_about

if TYPE_CHECKING:
    from modelfetch.engine.events import Event, Planned
    from modelfetch.engine.options import EnsureOptions
    from modelfetch.engine.runtime import Runtime
    from modelfetch.engine.setup import RunOptions
    from modelfetch.history import AttemptRow, History
    from modelfetch.reporters.history_rows import HistoryRows
    from modelfetch.reporters.recorder import Recorder

_RISK: Final = "verified files (see Shared caches in docs/reference/cache.md)"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Settings and catalogs as they hold in one directory and environment."""

    loaded: Loaded
    catalog: Catalog
    is_here: bool = False
    """Whether it was opened for this process's own environment and directory, as the next command will be."""
    notices: Notices = field(default_factory=Notices)
    """What a person should know that came up in a run."""

    @classmethod
    def open(
        cls,
        flags: Mapping[str, object] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Workspace:
        """Read settings and list catalogs.

        Raises:
            ConfigError: A setting or a named catalog is wrong.
        """
        loaded = load(
            flags=flags or {},
            environ=os.environ if environ is None else environ,
            cwd=working_directory() if cwd is None else cwd,
        )
        catalog = Catalog.open(
            user=loaded.catalog_user,
            project=loaded.catalog_project,
            environment=loaded.catalog_environment,
            owners=trusted_owners(os.environ if environ is None else environ),
        )
        return cls(loaded, catalog, is_here=environ is None and cwd is None)

    @property
    def opening_notices(self) -> tuple[str, ...]:
        """What a person should know about settings, catalogs and the models asked for so far; a line each."""
        return (*self.loaded.notices, *self.catalog.notices)

    @property
    def store(self) -> Store:
        """The cache."""
        return Store(self.loaded.cache_dir, fsync=self.loaded.settings.cache.fsync, notices=self.notices)

    @property
    def doubt(self) -> str:
        """One line on why the cache cannot be trusted, or empty; see :func:`modelfetch.warm.doubt`."""
        root = self.loaded.cache_dir
        clause = doubt_about(os.fspath(root))
        return (
            clause
            and f"the cache {sanitise(str(root))} {clause}: whoever can write to it can replace {_RISK}"
        )

    @property
    def consulted(self) -> tuple[Consulted, ...]:
        """Every file that decided what the models are, as it looks now."""
        return tuple(map(self.store.consult, (*self.loaded.consulted, *self.catalog.consulted)))

    def manifests(self, names: Sequence[str]) -> list[Manifest]:
        """The manifests of the named models, else of the project's; each once.

        Raises:
            UsageError: No name is given and no project names any.
            UnknownModelError: No catalog has a model of this name.
            ManifestError: A manifest is wrong.
        """
        try:
            found = [self.catalog.get(name) for name in names or self._wanted]
        except (UsageError, UnknownModelError) as error:
            if notes := self._passed_over:  # the very thing that is missed may be among it
                raise type(error)("\n".join([error.message, *notes]), hint=error.hint) from error
            raise
        return list({manifest.name: manifest for manifest in found}.values())

    @property
    def _wanted(self) -> tuple[str, ...]:
        """The models of the project."""
        if self.loaded.models:
            return self.loaded.models
        hint = 'Name one (modelfetch list shows them), or put models = ["..."] into modelfetch.toml.'
        raise UsageError("no model is named", hint=hint)

    @property
    def _passed_over(self) -> list[str]:
        return [f"note: {notice}" for notice in (*self.loaded.passed_over, *self.catalog.passed_over)]

    def present(self) -> list[Manifest]:
        """Every model that has a receipt, as the catalog pins it where that is the same content."""
        return [self._manifest_of(receipt.manifest()) for receipt in self.store.receipts()]

    def _manifest_of(self, present: Manifest) -> Manifest:
        known = self._known(present.name)
        if known is None:
            return present  # no catalog has it any more; the receipt says enough to verify it
        return known if (known.version, known.identity) == (present.version, present.identity) else present

    def _known(self, name: str) -> Manifest | None:
        try:
            return self.catalog.get(name)
        except ModelfetchError:
            return None

    def history(self) -> History:
        """What is remembered of earlier runs; to be closed by whoever asked for it."""
        from modelfetch.history import FILE, History

        return History(self.loaded.cache_dir / FILE, days=self.loaded.settings.history.days)

    def recorder(self) -> Recorder:
        """Make the reporter that remembers one run."""
        from modelfetch.reporters.recorder import Recorder

        def begin() -> HistoryRows:
            from modelfetch.reporters.history_rows import HistoryRows

            return HistoryRows(self.history(), self._known)

        def found(directories: list[str]) -> None:
            count(str(self.loaded.cache_dir), directories, create=True)

        return Recorder(begin, found if self.loaded.settings.history.days else None)

    def attempts(self, history: History, since: datetime | None = None) -> list[AttemptRow]:
        """The attempts of every run, in the order in which they ended, also of those that found all there.

        Args:
            history: Where most of them are remembered.
            since: Only those of then or later; all that are remembered when None.
        """
        from modelfetch.history.metrics import attempts_of

        days = timedelta(days=self.loaded.settings.history.days)
        oldest = datetime.now(UTC) - days if since is None else since
        hits = attempts_of(self.store.hits(), self.store.receipts(), oldest) if days else ()
        rows = history.attempts(since=since)
        return list(merge(rows, hits, key=lambda row: row.started_at + timedelta(seconds=row.seconds)))

    def reset_metrics(self, history: History) -> int:
        """Forget every attempt, and so all metrics and the health of every host; runs stay.

        Returns:
            How many were forgotten.

        Raises:
            StoreError: The disk refused.
        """
        forgotten = len(self.attempts(history))
        history.reset()
        self.store.forget_hits()
        if self.loaded.settings.history.days:
            count(str(self.loaded.cache_dir), [], create=True)
        return forgotten

    def is_present(self, manifest: Manifest) -> bool:
        """Whether a model is here: it has a receipt, and every file looks as it did then."""
        receipt = self.store.receipt(manifest)
        return receipt is not None and all(self.store.kept(manifest, receipt).values())

    def remove(self, name: str, *, dry_run: bool) -> Removal:
        """Remove every version of a model from the cache; see :meth:`modelfetch.store.Store.remove`.

        Raises:
            UnknownModelError: The name is neither in the cache nor in a catalog.
        """
        manifest = self._known(name)
        model = manifest.name if manifest is not None else name
        removal = self.store.remove(model, manifest.files if manifest is not None else (), dry_run=dry_run)
        if not removal.versions and manifest is None:
            self.catalog.get(name)  # raises, with a suggestion
        return removal

    def plan(self, manifests: Iterable[Manifest], options: RunOptions) -> Iterator[Planned]:
        """What ensure would do for each model. Writes nothing and asks no network.

        Raises:
            UsageError: An option names no kind of source.
        """
        from modelfetch.engine.plan import planned, take_inventory

        runtime = self._runtime(options)
        return (planned(runtime, take_inventory(runtime, manifest)) for manifest in manifests)

    def ensure(
        self,
        manifests: Sequence[Manifest],
        options: EnsureOptions,
        *,
        cancel: Cancellation | None = None,
    ) -> Generator[Event, None, None]:
        """Make models present and verified; see :func:`modelfetch.engine.ensure.ensure`.

        Args:
            manifests: The models.
            options: What the run is asked for. Its settings were used when this workspace was opened.
            cancel: Ends the run from another thread; closing the iterator ends it from this one.

        Raises:
            UsageError: An option names no kind of source, or files cannot go where options want them.
        """
        from modelfetch.engine.ensure import ensure
        from modelfetch.engine.options import Request

        request = Request(manifests, options, self.loaded.hf_cache)
        request.export.check(manifests, self.store)
        run = options.run
        if has_demo(manifests):  # one connection, so that a person can follow its cut and its fallback
            run = replace(run, connections=1)
        runtime = self._runtime(run, cancel)

        def start(addressed: Sequence[Manifest]) -> Iterator[Event]:
            wanted = replace(
                request,
                manifests=addressed,
                consulted=self.consulted,
                circumstances=self._circumstances,
            )
            return ensure(runtime, wanted)

        return _run(runtime, manifests, start)

    def verify(
        self,
        manifests: Sequence[Manifest],
        options: RunOptions,
        *,
        quick: bool = False,
        repair: bool = False,
        strict: bool = False,
        cancel: Cancellation | None = None,
    ) -> Generator[Event, None, None]:
        """Check models, and put right what is wrong; see :func:`modelfetch.engine.verify.verify`.

        ``cancel`` is as for :meth:`ensure`.
        """
        from modelfetch.engine.verify import VerifyRequest, verify

        runtime = self._runtime(options, cancel)

        def start(addressed: Sequence[Manifest]) -> Iterator[Event]:
            request = VerifyRequest(
                addressed if repair else manifests,
                quick=quick,
                repair=repair,
                strict=strict,
                consulted=self.consulted,
            )
            return verify(runtime, request)

        return _run(runtime, manifests if repair else (), start)

    @property
    def _circumstances(self) -> list[str]:
        """What the warm answer depends on; nothing where it must not be given.

        It could not announce that a project took a name over, and that is to be told in every run.
        """
        try:
            return circumstances() if self.is_here and not self.catalog.taken_over else []
        except OSError:  # the working directory is gone
            return []

    def _runtime(self, options: RunOptions, cancel: Cancellation | None = None) -> Runtime:
        from modelfetch.engine.setup import assemble

        offline = options.offline or self.loaded.offline
        return assemble(
            self.loaded,
            replace(options, offline=offline),
            cancel or Cancellation(),
            foreign=self.catalog.of_project(),
            notices=self.notices,
        )


def _run(
    runtime: Runtime, manifests: Sequence[Manifest], start: Callable[[Sequence[Manifest]], Iterator[Event]]
) -> Generator[Event, None, None]:
    """Play a run, with the embedded origin beside it if a model needs one, and let go of what it used."""
    try:
        with serving(manifests) as addressed:
            yield from start(addressed)
    finally:
        runtime.close()
        runtime.store.close()
