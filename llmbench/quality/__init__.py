"""Whether a backend still says what the reference says."""
