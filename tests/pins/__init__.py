"""Tests of the use cases around pins."""
