"""Whose backups there are, and by which key, by what all hosts know before a change."""
