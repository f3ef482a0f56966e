"""Ports implemented, one module a technology."""
