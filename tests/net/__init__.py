"""Tests of HTTP: the pure rules by tables, the rest against a loopback origin that misbehaves."""
