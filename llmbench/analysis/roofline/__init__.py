"""Roofline: bytes/s and FLOP/s of steps, as fractions of the device's peaks."""
