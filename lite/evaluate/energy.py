"""The energy that the processor packages have used, where the machine tells (Linux, RAPL through powercap)."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["EnergyMeter"]

_POWERCAP = Path("/sys/class/powercap")


@dataclass(slots=True)
class _Zone:
    path: Path
    largest: int  # microjoules at which the counter starts again from 0
    last: int


class EnergyMeter:
    """Joules since it was made. Read it more often than the counters wrap, which takes minutes at full load."""

    def __init__(self, folder: Path = _POWERCAP) -> None:
        self._microjoules = 0
        self._zones = [zone for path in sorted(folder.glob("*-rapl:[0-9]")) if (zone := _zone(path))]

    def joules(self) -> float | None:
        """Of all packages together, with all that ran on them; None where the machine does not tell."""
        for zone in self._zones:
            now = _number(zone.path / "energy_uj")
            if now is None:
                self._zones = []
                break
            gained = now - zone.last
            self._microjoules += gained if gained >= 0 else gained + zone.largest
            zone.last = now
        return self._microjoules / 1e6 if self._zones else None


def _zone(path: Path) -> _Zone | None:
    last, largest = _number(path / "energy_uj"), _number(path / "max_energy_range_uj")
    return None if last is None or largest is None else _Zone(path, largest, last)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None
