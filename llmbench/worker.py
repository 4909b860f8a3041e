"""``python -m llmbench.worker``: one run in a process of its own.

The name is a contract: `check --baseline git:REF` starts it in checkouts of other versions.
"""

from __future__ import annotations

import sys

from llmbench.campaign.worker import main

if __name__ == "__main__":
    sys.exit(main())
