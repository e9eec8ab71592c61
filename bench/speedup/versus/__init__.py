"""Versions measured in turn."""
