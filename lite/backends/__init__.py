"""Engines behind one interface: `base.py`."""
