"""Use cases around pins: add a model, move its pin, compare it with its upstream, adopt files."""
