"""The PostgreSQL server of this host: its settings, its databases and their roles."""
