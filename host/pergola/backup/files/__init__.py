"""The files of applications that stay from release to release, in backups of their own (restic).

Each application has a repository beside those of PostgreSQL, with a key derived from theirs.
"""
