"""What the processor calls itself."""

import platform
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["processor"]


def processor() -> tuple[str, frozenset[str]]:
    """Its name and its flags; "" and none where the system does not tell."""
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string"), frozenset(_sysctl("machdep.cpu.features").lower().split())
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return platform.processor(), frozenset()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return name[1] if name else platform.processor(), frozenset(flags[1].split() if flags else ())


def _sysctl(key: str) -> str:
    try:
        return subprocess.run(
            ["sysctl", "-n", key], capture_output=True, text=True, timeout=5, check=False
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
