"""Draw N samples and settle on one answer."""
