"""Benchmarks: each prints a table and its targets, and exits with 1 when a target is missed."""
