"""Pure state machines that coordinate clients: fetch sessions, groups, producer ids, transactions."""
