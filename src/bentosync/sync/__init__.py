"""Push and pull: plans first, then bytes, then the manifest."""
