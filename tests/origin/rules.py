"""Which fault meets which request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.origin.faults.base import Fault
from tests.origin.message import Request


@dataclass(slots=True)
class Rule:
    """A fault and the requests it is for: of those that match, all but the first `after`, at most `times`."""

    pattern: str
    fault: Fault
    times: int | None
    after: int
    when: Callable[[Request], bool] | None
    seen: int = 0

    def wants(self, request: Request) -> bool:
        """Whether the fault is for this request; counts the request if it matches."""
        if not matches(self.pattern, request) or (self.when and not self.when(request)):
            return False
        if self.times is not None and self.seen >= self.after + self.times:
            return False
        self.seen += 1
        return self.seen > self.after


class Rules:
    """Rules in the order added; the first that wants a request has it alone. Thread-safe."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._lock = threading.Lock()

    def add(self, rule: Rule) -> None:
        """Append a rule."""
        with self._lock:
            self._rules.append(rule)

    def clear(self) -> None:
        """Forget all rules."""
        with self._lock:
            self._rules.clear()

    def fault(self, request: Request) -> Fault | None:
        """The fault for a request, if any."""
        with self._lock:
            return next((rule.fault for rule in self._rules if rule.wants(request)), None)


def matches(pattern: str, request: Request) -> bool:
    """Whether a shell pattern fits the URL's path, the file's path or the file's last name."""
    names = (request.path, request.file, request.file.rpartition("/")[2])
    return any(fnmatchcase(name, pattern) for name in names)
