"""Long runs against a real broker process, with a seed, progress and a table of results."""
