"""Tests of the upstreams, each against a loopback server in the shape of its hub."""
