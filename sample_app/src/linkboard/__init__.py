"""A shared board of links that fetches its own titles."""
