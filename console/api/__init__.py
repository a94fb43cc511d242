"""The HTTP API, `/api/v1`: what the command line can do, for signed-in people and their programs."""
