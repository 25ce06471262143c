"""The rows of the configuration table, by subject. Rows are laid out by hand: name, type, default,
importance, how a running broker takes a new value, what is allowed, and a sentence for people."""
