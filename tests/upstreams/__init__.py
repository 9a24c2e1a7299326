"""Tests of upstreams against loopback hubs."""
