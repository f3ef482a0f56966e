"""Servers that tests start where their binaries are, and tests that need them."""
