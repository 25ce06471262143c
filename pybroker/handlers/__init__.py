"""One module per API, the registry that lists them, and the context a request runs in."""
