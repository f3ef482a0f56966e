"""ragstone: retrieval-augmented generation over a knowledge base that is versioned like code."""

__version__ = "0.1.0"
