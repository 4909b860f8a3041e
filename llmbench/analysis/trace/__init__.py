"""What profiler traces say of a step: categories of operators, launches and host gaps."""
