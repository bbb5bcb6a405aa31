"""Engines that run on the CPU."""
