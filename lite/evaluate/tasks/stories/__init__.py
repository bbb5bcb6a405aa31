"""Families of stories that word problems are told as."""
