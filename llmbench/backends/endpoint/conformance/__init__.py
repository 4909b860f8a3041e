"""Whether a client handles every response of a server correctly, and whether a server behaves.

The adversarial server answers in every way that is known to mislead load generators; each way has
one expected outcome.
"""
