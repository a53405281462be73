"""File formats, read and written without network or torch."""
