"""The web pages: files that a browser runs, which do everything through the HTTP API."""
