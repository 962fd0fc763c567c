"""Whether the files of an inventory can be read, and are read as they are meant."""
