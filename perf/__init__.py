"""Benchmarks and experiments; `README.md` says how to run them and how to read a number."""
