"""The published JSON Schemas: they are right, and everything printed with ``--json`` follows them."""
