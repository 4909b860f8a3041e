"""Everything that starts processes: runs, checks, searches and profiles."""
