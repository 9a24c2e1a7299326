"""Servers with the protocols of hubs and registries, on loopback."""
