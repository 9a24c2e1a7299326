"""Loopback servers in the shape of hubs, which can misbehave."""
