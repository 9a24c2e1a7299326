"""Tests of the diagnosis: each layer and ability broken in turn, and what is decided on it."""
