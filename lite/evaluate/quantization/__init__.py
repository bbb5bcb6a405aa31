"""`lite quant-report`: what fewer bits do to a model's distributions, to its certainty, and to its answers."""
