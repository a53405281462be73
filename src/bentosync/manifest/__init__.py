"""What a version is, byte for byte: values and their canonical form."""
