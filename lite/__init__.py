"""Makes small local language models reason better."""
