"""What the ecosystems share: servers under test, the client port, the journeys and the matrix."""
