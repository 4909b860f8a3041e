"""What was asked and what happened: requests, records, series, and the folder that keeps them."""
