"""Checks of this server, alerts when a state changes, and metrics."""
