"""How a local model serves many requests at once: slots, a queue and one synchronous loop."""
