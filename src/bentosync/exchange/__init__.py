"""Models into and out of the store as archives and folders."""
