"""Reports over HTTP, for looking at: nothing is written, and nothing is run."""
