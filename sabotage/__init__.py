"""Proves that the tests can fail: the relay with one bug at a time, and the tests that must find it."""
