"""Pure functions of stored runs: metrics, statistics, comparisons and verdicts."""
