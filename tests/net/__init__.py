"""Tests of the HTTP package: pure functions by tables, the rest against a misbehaving server on loopback."""
