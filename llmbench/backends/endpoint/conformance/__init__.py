"""Conformance checks of the client against faulty servers, and of a server.

The adversarial server has every behavior known to mislead load generators, each with one expected
outcome.
"""
