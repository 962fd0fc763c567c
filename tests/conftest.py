"""What the tests of all rooms share, desk.py and runs.py: pytest puts this folder on the path."""
