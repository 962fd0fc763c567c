"""The backups of this host's PostgreSQL: pgBackRest, and what a person would do around it."""
