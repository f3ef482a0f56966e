"""Settings, read only by bootstrap and entry points."""
