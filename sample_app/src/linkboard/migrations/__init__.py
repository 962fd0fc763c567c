"""The package that Alembic finds by its name."""
