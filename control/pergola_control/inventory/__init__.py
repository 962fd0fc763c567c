"""Inventories: making one, and whether its files can be read and are read as they are meant."""
