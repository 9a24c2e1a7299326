"""The swarm: machines that need the same model send it to each other, by BitTorrent v2.

The engine is libtorrent, which runs in a child process. What it writes is hashed here like the bytes of any
source; it vouches for nothing.
"""
