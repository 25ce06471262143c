"""Clients in other languages, driven as child processes that take and give one JSON object a line."""
