"""Tests of bundles: their documents, their archive, and hostile ones."""
