"""IPFS gateways on loopback: one that misbehaves on request, and independent ones of other authors."""
