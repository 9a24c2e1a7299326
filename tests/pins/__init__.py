"""Tests of adding, comparing and moving pins."""
