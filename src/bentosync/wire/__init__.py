"""One HTTP exchange, its body straight into a buffer the caller owns. Contract: `wire.exchange`."""
