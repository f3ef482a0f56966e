"""Tests of the repository's frame: locks, examples, scripts."""
