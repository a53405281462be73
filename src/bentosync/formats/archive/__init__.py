"""Models in one file: tar (plain or compressed) and zip, written and read without trusting what is read."""
