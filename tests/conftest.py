"""What holds for all tests."""

from __future__ import annotations

import os

# Waiting OpenMP threads spin, which makes torch ten times slower where tests share a machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
