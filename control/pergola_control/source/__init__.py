"""Where a release comes from: a version becomes a commit, and a commit an archive."""
