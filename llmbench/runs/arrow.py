"""Arrow without pandas."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import Any

import pyarrow as pa


def leave_out_pandas() -> None:
    """Keep pyarrow from importing pandas on its first conversion, which takes 0.3 s and 45 MB.

    pyarrow imports pandas to recognize its types, and tries only once. Conversions to pandas import
    it as ever. For processes of llmbench's own that convert no pandas objects.
    """
    absent = _Absent()
    sys.meta_path.insert(0, absent)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(absent)


class _Absent(MetaPathFinder):
    """Lets an import of pandas fail as if it were not installed."""

    def find_spec(self, fullname: str, *_: Any) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(name=fullname)
