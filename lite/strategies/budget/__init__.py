"""Strategies that decide how much to spend."""
