"""Caddy on this host: whether its files can be loaded, what it has not loaded yet, its sites."""
