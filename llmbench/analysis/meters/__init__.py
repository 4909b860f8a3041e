"""Wall meters: what the whole machine drew, logged by something outside and joined to runs."""
