"""The command `pergola`, for people: it prints the line of a playbook or of ssh, and runs it."""
