"""The client of a running server, against servers that say what a test wrote down."""
