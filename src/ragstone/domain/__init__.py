"""Plain dataclasses, value objects and errors. Imports nothing else of ragstone."""
