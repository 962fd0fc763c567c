"""What a deploy would change on a host, told before it does."""
