"""Strategies that stop early: a thought that has converged, branches that cannot matter, samples that are not needed.

Every decision is taken at a token position, so that the answer is the same however the tokens arrive.
"""
