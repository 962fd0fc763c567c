"""What a run prints: the words, the summary, the terminal's last line."""
