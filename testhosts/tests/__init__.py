"""Unit tests of testhosts: no root, no network."""
