"""Measuring answers: tasks with known solutions."""
