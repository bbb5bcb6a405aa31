"""Which model answers, and whether it thinks first: routing between samplers, and abstaining."""
