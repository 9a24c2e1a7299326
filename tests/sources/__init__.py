"""Tests of the sources: the offers they make, and the requests of those offers."""
