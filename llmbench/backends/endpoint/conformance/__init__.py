"""Conformance checks of the load client against a faulty server, and of a user's server.

The adversarial server has behaviors known to mislead load generators, each with one expected
outcome.
"""
