"""What a test may do to a running cluster, as a table of operations, and the HTTP API made from it."""
