"""The HTTP API of an agent: what callers send and read, and the routes between."""
