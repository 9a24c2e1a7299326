"""Programs around libraries that have no command of their own; each runs in its library's environment."""
