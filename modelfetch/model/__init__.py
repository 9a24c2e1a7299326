"""Models: lists of files, each pinned by size and SHA-256.

The package has values, rules and text; it uses no network and writes no files. A manifest is read from TOML
(:mod:`modelfetch.model.parse`) into frozen values (:mod:`modelfetch.model.manifest`). The parser rejects
paths that are not safe on every operating system (:mod:`modelfetch.model.paths`).
"""
