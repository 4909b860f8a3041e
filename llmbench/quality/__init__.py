"""Output quality: a backend's outputs compared with those of a reference."""
