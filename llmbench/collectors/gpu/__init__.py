"""NVIDIA GPUs through NVML: devices, readings and GPM."""
