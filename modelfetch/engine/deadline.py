"""The time limit of a run (``--timeout``), and what the run was at when it was reached."""

from __future__ import annotations

from modelfetch.engine.events import Event, FileCommitted, Progress, SourceFailed
from modelfetch.engine.runtime import Runtime
from modelfetch.engine.workers import Done, T


class Deadline:
    """Watches the clock while events pass.

    Args:
        runtime: Of the run.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._under_way: dict[tuple[str, str], Progress] = {}
        """The files of which bytes are waited for; the one heard of last comes last."""

    def check(self, happened: Event | Done[T] | None) -> None:
        """Take note of what happened, and of the time.

        Raises:
            DeadlineError: It is up.
        """
        if self._runtime.deadline is None:  # as most runs have it; thousands of small files pass here
            return
        match happened:
            case Progress(model=model, file=file):
                self._under_way.pop((model, file), None)
                self._under_way[model, file] = happened
            case FileCommitted(model=model, file=file) | SourceFailed(model=model, file=file):
                self._under_way.pop((model, file), None)
            case _:
                pass
        self._runtime.check_deadline(self._doing())

    def _doing(self) -> str:
        if not self._under_way:
            return ""
        last = next(reversed(self._under_way.values()))
        return f"{last.model}: {last.file} from {last.source} {last.host}".rstrip()
