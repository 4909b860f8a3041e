"""To whom requests are sent."""
