"""Whether a command does what was typed."""
