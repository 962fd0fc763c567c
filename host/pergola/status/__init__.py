"""How this server is: what a look sees, what is remembered from look to look, who is told."""
