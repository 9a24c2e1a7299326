"""Write the schema of events: ``python -m tests.schemas``."""

from __future__ import annotations

from tests.schemas import events
from tests.schemas.checking import DIRECTORY

(DIRECTORY / "events.json").write_text(events.text(), "utf-8")
