"""The catalog: one TOML manifest for each built-in model, and the look-up over all catalogs.

This directory has the built-in manifests, each called ``<name>.toml``, and ``_index.toml`` with aliases and
license notices. :mod:`modelfetch.catalog.lookup` finds a manifest by name.
"""

from modelfetch.catalog.lookup import Catalog, CatalogEntry

__all__ = ["Catalog", "CatalogEntry"]
