"""Joules from the processor's own counters, where there are any."""

from pathlib import Path

from lite.evaluate.energy import EnergyMeter


def zone(folder: Path, name: str, microjoules: int) -> Path:
    path = folder / name
    path.mkdir()
    (path / "energy_uj").write_text(f"{microjoules}\n")
    (path / "max_energy_range_uj").write_text("10000000\n")
    return path


def test_packages_add_up_and_counters_may_wrap(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "intel-rapl:0", 9_000_000), zone(tmp_path, "intel-rapl:1", 1_000_000)
    zone(tmp_path, "intel-rapl:0:0", 5)  # a part of the first
    meter = EnergyMeter(tmp_path)
    assert meter.joules() == 0
    (first / "energy_uj").write_text("500000")
    (second / "energy_uj").write_text("3000000")
    assert meter.joules() == 1.5 + 2
    (first / "energy_uj").write_text("700000")
    assert meter.joules() == 3.7


def test_a_machine_that_does_not_tell_has_none(tmp_path: Path) -> None:
    assert EnergyMeter(tmp_path).joules() is None
    first = zone(tmp_path, "intel-rapl:0", 1)
    meter = EnergyMeter(tmp_path)
    (first / "energy_uj").unlink()
    assert meter.joules() is None
