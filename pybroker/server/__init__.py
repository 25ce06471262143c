"""The wire side of the broker: listeners, one task per connection, transports and dispatch."""
