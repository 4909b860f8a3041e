"""The backend for a quantized model, on the runtime with the fastest kernels for its scheme."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import ClassVar, Literal

from pydantic import Field

from llmbench import models, plugins
from llmbench.backends.base import BACKENDS, Backend, OpenContext
from llmbench.backends.local import LocalServer, local_server
from llmbench.models.compress import Recipe, Scheme


class Quantized(Backend):
    """A quantized model, on the runtime with the fastest kernels for its quantization scheme.

    ``runtime: auto`` selects ``compiled`` on CUDA and ``onnx`` on CPUs, or ``eager`` if onnxruntime
    is not installed. The schemes are those of ``compress: {quantize: ...}``.
    """

    profilable: ClassVar = True

    class Options(plugins.Options):
        """``{kind: quantized, scheme: int8-weight-only, runtime: onnx}``."""

        scheme: Scheme = Field(description="quantization scheme of the linear layers")
        runtime: Literal["auto", "eager", "compiled", "onnx"] = Field(
            default="auto", description="backend that runs the quantized model"
        )

    options: Options

    @contextmanager
    def open(self, context: OpenContext) -> Iterator[LocalServer]:
        """Load, quantize and warm up the model on the chosen runtime.

        Raises InputError when the runtime has no kernels for the scheme on this device.
        """
        runtime = self._runtime(context)
        BACKENDS.require(runtime)
        part = BACKENDS.find(runtime)
        options = part.Options.model_validate({"compress": Recipe(quantize=self.options.scheme)})
        with part(options).open(context) as opened:
            server = local_server(opened)
            model = server.model
            server.model = replace(
                model,
                requested={**model.requested, "runtime": self.options.runtime},
                effective={**model.effective, "runtime": runtime},
            )
            yield server

    def _runtime(self, context: OpenContext) -> str:
        if self.options.runtime != "auto":
            return self.options.runtime
        if models.device_type(context.model) == "cuda":
            return "compiled"
        return "onnx" if find_spec("onnxruntime") else "eager"
