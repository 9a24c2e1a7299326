"""Where pins come from: one module per kind of hub, behind the protocol of ``base``."""
