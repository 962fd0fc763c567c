"""Throw-away servers for tests and the demo: booted systemd machines, reached over SSH."""
