"""Tests of what a cache keeps, and what goes."""
