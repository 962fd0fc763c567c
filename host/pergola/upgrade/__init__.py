"""Updates of the system, and another major version of PostgreSQL, on one host."""
