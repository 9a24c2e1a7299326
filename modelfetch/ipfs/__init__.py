"""IPFS without a node: identifiers of content, read and written by hand with the standard library.

Pure: bytes and text in, values out. Nothing here opens a file or a connection.
"""
