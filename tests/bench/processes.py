"""What the processes of a running system cost: CPU time and memory, as the kernel counts them (Linux)."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
POSTGRES = "postgres-0"
# Fields of /proc/<pid>/stat after the name, counted from 0 (proc_pid_stat(5)).
PPID, UTIME, STIME, CUTIME, CSTIME = 1, 11, 12, 13, 14


@dataclass(frozen=True)
class Process:
    """A process of the system by its name in the home's `run` folder."""

    name: str
    pid: int


def of_home(home: Path) -> list[Process]:
    """Return the processes that live now."""
    files = sorted((home / "run").glob("*.pid"))
    return [Process(path.stem, int(path.read_text())) for path in files]


def cpu_s(processes: list[Process]) -> dict[str, float]:
    """Return the CPU seconds that each process has used; those of PostgreSQL with its children."""
    return {process.name: _cpu_s(process) for process in processes}


class Machine(NamedTuple):
    """What all cores together have done since the machine began, in seconds."""

    busy_s: float
    idle_s: float
    disk_s: float
    stolen_s: float


def machine() -> Machine:
    """Return what all cores together have done until now; `stolen` by other guests of the same host."""
    line = (PROC / "stat").read_text().split("\n", 1)[0]
    user, nice, system, idle, disk, irq, softirq, stolen = [
        int(number) / TICKS_PER_S for number in line.split()[1:9]
    ]
    return Machine(user + nice + system + irq + softirq, idle, disk, stolen)


def peak_mib(processes: list[Process]) -> dict[str, float]:
    """Return the peak resident memory of each process in MiB.

    For PostgreSQL: what it and its children hold now, shared pages counted once.
    """
    return {process.name: round(_kib(process) / 1024, 1) for process in processes}


def _cpu_s(process: Process) -> float:
    stat = _stat(process.pid)
    if not stat:
        return 0.0
    ticks = stat[UTIME] + stat[STIME]
    if process.name == POSTGRES:
        ticks += stat[CUTIME] + stat[CSTIME]
        ticks += sum(child[UTIME] + child[STIME] for pid in children(process.pid) if (child := _stat(pid)))
    return ticks / TICKS_PER_S


def _kib(process: Process) -> int:
    if process.name != POSTGRES:
        return _field(process.pid, "status", "VmHWM")
    return sum(_field(pid, "smaps_rollup", "Pss") for pid in (process.pid, *children(process.pid)))


def children(pid: int) -> list[int]:
    """Return the direct children of a process."""
    pids = [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]
    return [child for child in pids if (stat := _stat(child)) and stat[PPID] == pid]


def _stat(pid: int) -> list[int]:
    """Return the numbers after the name, with a 0 for the state; empty when the process is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [0, *map(int, text.rpartition(") ")[2].split()[1:])]


def _field(pid: int, file: str, name: str) -> int:
    try:
        text = (PROC / str(pid) / file).read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:")), 0)
