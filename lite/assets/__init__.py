"""Files shipped inside the package: the embedded language model."""
