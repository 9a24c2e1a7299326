"""Tests of the sources: which offers they make, and what those ask of whom."""
