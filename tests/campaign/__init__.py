"""Long campaigns, apart from the quick suite: ``python -m tests.campaign NAME``."""
