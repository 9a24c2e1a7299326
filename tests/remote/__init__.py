"""Tests of the client of a server, against servers with scripted answers."""
