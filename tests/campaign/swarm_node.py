"""One machine of the campaign of the swarm: the command ``ensure --swarm``, with an address of its own.

Start it as ``python -m tests.campaign.swarm_node ADDRESS GO WORDS...``. In a network namespace, where it
listens on all addresses and finds peers by multicast, the address has ``lsd:`` before it. It loads
everything, starts the engine, creates ``GO.ADDRESS``, waits for the file ``GO``, and then runs the command.
So the start of sixty interpreters on two cores is no part of what is measured.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from modelfetch.cli.entry import run
from modelfetch.engine import swarm_session, swarm_setup
from modelfetch.engine.swarm_options import SwarmOptions
from modelfetch.lazy_dataclass import replace


def main() -> None:
    address, go, *words = sys.argv[1:]
    options_of = swarm_setup._options

    def options(*arguments: Any, **named: Any) -> SwarmOptions:
        found = options_of(*arguments, **named)
        if address.startswith("lsd:"):
            return found
        return replace(found, listen=(address,), discovers_lan=False)

    begin = swarm_session.Session.begin

    def begin_at_go(session: swarm_session.Session, jobs: Any) -> Any:
        import modelfetch.engine.transfer
        import modelfetch.net.session  # noqa: F401

        session._start()
        Path(f"{go}.{address}").touch()
        while not Path(go).exists():
            time.sleep(0.02)
        print(f"go {time.time()}", file=sys.stderr, flush=True)
        return begin(session, jobs)

    swarm_setup._options = options
    swarm_session.Session.begin = begin_at_go  # type: ignore[method-assign,assignment]
    sys.argv = ["modelfetch", *words]
    run()


if __name__ == "__main__":
    main()
