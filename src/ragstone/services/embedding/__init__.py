"""Embedding and reranking for other processes, over HTTP."""
