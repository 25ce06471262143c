"""Partitions as this broker hosts them: who leads, what is committed, and who waits for news."""
