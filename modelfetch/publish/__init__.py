"""Publishes models on IPFS: computes CIDs, writes CAR files, and hands the blocks to those that pin them.

What a run hands over is planned from the trees of all files alone (:mod:`.car_stream`); the bytes of a file
are read when they are written or sent, and each chunk is compared with its leaf before it leaves.
"""
