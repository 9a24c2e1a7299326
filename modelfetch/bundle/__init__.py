"""Bundles: models in one file or directory that is carried without a network.

A bundle is an OCI image layout (image-spec 1.1) in an uncompressed tar, or the same as a directory. Each
model is one ModelPack artifact, and each file is a blob whose name is its SHA-256.
"""
