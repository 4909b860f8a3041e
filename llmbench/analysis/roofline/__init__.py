"""Roofline: bytes and FLOPs of steps, as shares of the device's peaks."""
