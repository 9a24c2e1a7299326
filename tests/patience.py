"""How long tests wait: long enough for the busiest machine, and shorter than what they guard against.

No test may depend on how busy the machine is. What must happen "at once" has an upper bound here that only
something which waits for ever, or for minutes, goes beyond; where the wrong way would be quicker than that, a
test counts or orders events instead of measuring time.
"""

IN_TIME = 25.0
"""Seconds in which everything that needs no waiting is over."""
HELD = 50.0
"""Seconds for which a fake holds somebody up, unless it is let go; longer than ``IN_TIME``."""

PATIENT = {"MODELFETCH_NETWORK_CONNECTIONS": "1", "MODELFETCH_NETWORK_STALL_TIMEOUT": "600"}
"""Environment in which a download that an origin holds up stays there for as long as the test takes: no other
connection takes the rest over, and the first one is not given up."""
