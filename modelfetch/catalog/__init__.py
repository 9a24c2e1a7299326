"""Which models are known: one TOML manifest for each built-in model, and the look-up over all catalogs.

Beside this file lie the built-in manifests, each called ``<name>.toml``, and ``_index.toml`` with aliases and
words about licences. :mod:`modelfetch.catalog.lookup` finds a manifest by name.
"""

from modelfetch.catalog.lookup import Catalog, CatalogEntry

__all__ = ["Catalog", "CatalogEntry"]
