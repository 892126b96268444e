"""The operators as they are installed, on a real API server."""
