"""What other machines may read of this cache: verified blobs, and the documents that lead to them.

Everything here is read-only and free of any web framework; :mod:`modelfetch.server` has the routes.
"""
