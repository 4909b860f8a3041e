"""HTML pages: the report, the profile and the index of a results folder."""
