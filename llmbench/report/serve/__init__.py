"""Read-only reports over HTTP."""
