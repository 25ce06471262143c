"""The vocabulary of the broker: ids, offsets, endpoints and error codes. Depends on nothing else here."""
