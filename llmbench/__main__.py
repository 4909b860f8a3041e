"""``python -m llmbench`` and the console script."""

from __future__ import annotations

from llmbench.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
