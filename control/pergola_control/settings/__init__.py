"""Whether the settings of an environment are what the roles take."""
