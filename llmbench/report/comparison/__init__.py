"""Run sets side by side: tables and a page."""
