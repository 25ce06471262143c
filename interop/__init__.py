"""Real clients and tools against a real server: the judges of the project (see README.md)."""
