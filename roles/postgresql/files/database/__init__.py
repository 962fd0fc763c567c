"""What `pergola-postgresql` does; standard library only."""
