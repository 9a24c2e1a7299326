"""Formats of IPFS, with the standard library only and without an IPFS node.

Pure: bytes and text in, values out. Nothing here opens a file or a connection.
"""
