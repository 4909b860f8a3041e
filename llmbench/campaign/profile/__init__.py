"""Why a backend is slow: what a step's time goes to, in a pass of its own, never the timed one."""
