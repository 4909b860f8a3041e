"""Whether a client makes the right thing of what servers do, and whether a server does it right.

The adversarial server answers in every way that was seen to fool a load generator; each way has
one right expected.
"""
