"""From a model to tensors on a device."""
