"""Use cases around pins: add a model, move its pin, compare it with its upstream, pin local files."""
