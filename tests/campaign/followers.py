"""10,000 events to 20 followers of one job, one of whom takes nothing.

Once every event is a fact that must arrive; once nearly all are progress, as in a download.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.server.followers import Outcome, Story, follow

EVENTS = 10_000
FOLLOWERS = 20
STORIES = {
    "facts only": Story(EVENTS),
    "one fact in a hundred": Story(EVENTS, facts=100, pace=2_000),
}
MEBIBYTE = 1 << 20


def main() -> None:
    """Run, and print what came of it."""
    for name, story in STORIES.items():
        with tempfile.TemporaryDirectory() as root:
            print(f"{name}: {_told(follow(Path(root), story, FOLLOWERS))}")


def _told(outcome: Outcome) -> str:
    least, most = min(outcome.shares), max(outcome.shares)
    others = f"{len(outcome.shares)} others got {least:.1%} to {most:.1%} of the events"
    return (
        f"{EVENTS} events in {outcome.told:.2f} s; {others}, in order, none twice, every fact; "
        f"the last one {outcome.behind:.2f} s behind; memory +{outcome.growth / MEBIBYTE:.1f} MiB"
    )


if __name__ == "__main__":
    main()
