"""Builds the platform from settings. The only package that knows every adapter."""
