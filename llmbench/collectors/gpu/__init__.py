"""NVIDIA GPUs watched through NVML: devices, readings and GPM."""
