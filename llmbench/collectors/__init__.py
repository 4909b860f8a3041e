"""Who watches the machine meanwhile."""
