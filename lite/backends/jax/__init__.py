"""The engine jax: a decoder, its draws and its shapes on whatever device JAX finds. `backend.py` puts them together."""
