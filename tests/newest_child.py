"""The child that a test has started; servers of the session may be children, too."""

from __future__ import annotations

import psutil


def newest_child() -> psutil.Process:
    """Return the child of this process that was started last."""
    return max(psutil.Process().children(), key=psutil.Process.create_time)
