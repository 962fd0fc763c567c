"""One application on this host, but for its releases: accounts, databases, site."""
