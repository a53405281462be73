"""Many ranges at once, bounded, resumable."""
