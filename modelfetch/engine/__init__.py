"""The engine: a run as a generator of events, and the fold that every view of it shares.

Nothing calls back into it. Closing the generator is how a run is cancelled; worker threads exist only inside,
and hand their events over to the one thread that follows the stream.
"""
