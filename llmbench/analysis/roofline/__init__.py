"""What steps could reach on a machine and what they reached: FLOPs, bytes, MBU and MFU."""
