"""GPUs of a stand-in driver, read in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from standin import Standin

from llmbench.collectors.base import Conclusion
from llmbench.collectors.gpu.collector import GpuProbe

__all__ = ["OURS", "MakeWatch", "Watch"]

OURS = 1


@dataclass
class Watch:
    """A probe whose window has begun, and its driver; our own process is 1."""

    driver: Standin
    probe: GpuProbe

    def readings(self) -> dict[str, float | None]:
        names = [quantity.name for quantity in self.probe.quantities()]
        return dict(zip(names, self.probe.read(), strict=True))

    def reasons(self) -> dict[str, str | None]:
        return {quantity.name: quantity.unavailable for quantity in self.probe.quantities()}

    def change(self, **attributes: Any) -> None:
        """Change the first card."""
        for name, value in attributes.items():
            setattr(self.driver.devices[0], name, value)
        self.driver.apply()

    def conclude(self) -> Conclusion:
        return self.probe.conclude()

    def facts(self) -> dict[str, Any]:
        """Conclude, and return the facts of the first GPU."""
        facts: dict[str, Any] = self.conclude().facts["gpus"][0]
        return facts


MakeWatch = Callable[..., Watch]
