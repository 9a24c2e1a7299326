"""What a model is: a list of files, each pinned by size and SHA-256.

Pure: values, rules and text, no network and no writing. A manifest comes in as TOML
(:mod:`modelfetch.model.parse`) and goes on as frozen values (:mod:`modelfetch.model.manifest`); paths that
are not safe on every operating system never get past the parser (:mod:`modelfetch.model.paths`).
"""
