"""Reclaims disk space: which models, downloads and wrong bytes may go, and their removal by policy."""
