"""Parsers of documents, run in a subprocess with limits. `sandbox` is the adapter; everything else runs in the subprocess."""
