"""The controller: elects leaders, creates and deletes topics, and tells every broker by messages."""
