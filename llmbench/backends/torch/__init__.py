"""Backends that run a model in PyTorch: eager, compiled, quantized and speculative."""
