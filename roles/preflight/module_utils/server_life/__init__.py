"""What a server had before Pergola came: read, never changed; who would lose what."""
