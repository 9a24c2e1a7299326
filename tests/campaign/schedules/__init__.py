"""Random schedules of network faults: what they are, how they are played, and how they are judged."""
