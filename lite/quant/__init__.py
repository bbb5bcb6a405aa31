"""Model formats: reading, converting, quantising."""
