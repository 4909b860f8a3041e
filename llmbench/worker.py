"""``python -m llmbench.worker``: one run in a process of its own.

The name is a contract: `check --baseline git:REF` starts it in checkouts of other versions.
"""

from __future__ import annotations

import gc
import sys

from llmbench.runs.arrow import leave_out_pandas

if __name__ == "__main__":
    gc.disable()  # imports create no garbage, but many objects to look through
    leave_out_pandas()

from llmbench.campaign.worker import main

if __name__ == "__main__":
    gc.enable()
    sys.exit(main())
