"""Storage that is named by a URL: what an export writes to and an import reads from, one stream at a time."""
