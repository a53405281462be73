"""One HTTP exchange at a time, bodies straight into the caller's memory."""
