"""The rounds: a scenario goes A B C D A B C D through its targets; every sample is kept, failed ones too.

The document (latest.json): {"format", "started", "seconds", "command", "options", "machine", "versions",
"commit", "targets": {name: {"title", "command", "config"}}, "scenarios": [{"name", "title", "what",
"metrics", "goals", "load", "origin", "sweep", "mode", "at", "skipped": {target: why}, "samples": [{"target",
"round", "ok", "error" | "figures", "usage", "load"}]}], "sweeps": [{"name", "title", "axis", "words", "what",
"panels"}], "micro"}.
"""

from __future__ import annotations

import contextlib
import functools
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import machine, micro
from bench.children import ChildFailed, descendants
from bench.load import Done, LoadFailed, Paced
from bench.measure import Meter, ProcessGone, Usage, private_b
from bench.origin import KINDS, Origin
from bench.programs import Missing
from bench.scenario import Scenario, Unit
from bench.scenarios import SCENARIOS
from bench.serving import Running, Wanted
from bench.sweeps import SWEEPS, Sweep
from bench.targets import TARGETS, same_modes, with_rivals

FORMAT = 1
FAULTS = (ChildFailed, LoadFailed, ProcessGone, Missing, OSError)
"""What makes a sample a failed one. Anything else is a fault of the benchmark and ends it."""

EXTRA = set(TARGETS) - {name for scenario in SCENARIOS for name in same_modes(scenario.targets)}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What was asked for. `targets`: None takes those of each scenario, with the products `rivals` instead of its own."""

    rounds: int
    seconds: float
    scenarios: tuple[Scenario, ...]
    targets: tuple[str, ...] | None = None
    rivals: tuple[str, ...] | None = None
    micro: bool = True
    quick: bool = False
    command: list[str] = field(default_factory=list)

    def targets_of(self, scenario: Scenario) -> list[str]:
        """In the order of the rounds. A variant (EXTRA) runs in every scenario when it is asked for."""
        if self.targets is not None:
            return [name for name in self.targets if name in same_modes(scenario.targets) or name in EXTRA]
        return list(scenario.targets) if self.rivals is None else with_rivals(scenario.targets, self.rivals)


def run(options: Options, say: Say) -> dict[str, Any]:
    """All of it: the document. Raises KeyboardInterrupt after ending every child."""
    started = time.time()
    names = sorted({name for scenario in options.scenarios for name in options.targets_of(scenario)})
    document: dict[str, Any] = {
        "format": FORMAT,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "command": shlex.join(options.command),
        "options": {"rounds": options.rounds, "seconds": options.seconds, "quick": options.quick},
        "machine": machine.machine(),
        "versions": machine.versions(names),
        "commit": machine.commit(),
        "targets": {name: {"title": TARGETS[name].title, "product": TARGETS[name].product} for name in names},
        "sweeps": [_described(sweep) for sweep in SWEEPS if any(part.sweep == sweep.name for part in options.scenarios)],
    }
    with tempfile.TemporaryDirectory(prefix="lbcore-bench-") as directory:
        bench = _Bench(options, Path(directory), document["targets"], say)
        document["scenarios"] = [bench.scenario(scenario) for scenario in options.scenarios]
    if options.micro:
        say("micro: pick, table writes and status reading")
        document["micro"] = micro.run(options.quick)
    document["seconds"] = round(time.time() - started, 1)
    return document


class _Bench:
    """One run: its options, its directory, and the targets' command lines as they are learnt."""

    def __init__(self, options: Options, directory: Path, known: dict[str, Any], say: Say) -> None:
        self.options = options
        self.directory = directory
        self.known = known
        self.say = say
        self.count = 0
        self.wholes: dict[str, float] = {}

    def _fresh(self, name: str) -> Path:
        self.count += 1
        return self.directory / f"{self.count}-{name}"

    def scenario(self, scenario: Scenario) -> dict[str, Any]:
        """Its part of the document."""
        names = self.options.targets_of(scenario)
        skipped = {name: why for name in names if (why := _absent(name))}
        part = _describe(scenario, self.options.seconds) | {"skipped": skipped, "samples": []}
        names = [name for name in names if name not in skipped]
        try:
            with KINDS[scenario.origin](self._fresh(scenario.origin)) as origin:
                part["origin"] = origin.text
                scenario = self.paced(scenario, origin)
                part["load"] |= asdict(scenario.load)
                for number in range(1, self.options.rounds + 1):
                    part["samples"] += [self.sample(scenario, origin, name, number) for name in names]
        except (ChildFailed, Missing, LoadFailed) as error:
            self.say(f"{scenario.name}: nothing to measure with: {error}")
            part["skipped"] |= dict.fromkeys(names, f"nothing to measure with: {error}")
        return part

    def paced(self, scenario: Scenario, origin: Origin) -> Scenario:
        """The scenario with its load's rate found, when the load has one. Raises ChildFailed, Missing, LoadFailed."""
        load = scenario.load
        if not isinstance(load, Paced):
            return scenario
        if load.rival not in self.wholes:
            with self._running(load.rival, scenario, origin) as target:
                done = load.flat_out.run(target.address, self.options.seconds, lambda: 0)
            self.wholes[load.rival] = done.answers / done.seconds
        whole = self.wholes[load.rival]
        load = load.at(whole)
        self.say(f"{scenario.name}: {load.rival} reaches {whole:,.0f} requests/s; the load is {load.rate:,.0f}")
        return replace(scenario, load=load)

    def sample(self, scenario: Scenario, origin: Origin, name: str, number: int) -> dict[str, Any]:
        """Start the target, load it, read what that cost, stop it."""
        sample: dict[str, Any] = {"target": name, "round": number}
        try:
            with self._running(name, scenario, origin) as target:
                sample |= _measured(scenario, origin, target, self.options.seconds)
        except FAULTS as error:
            sample |= {"ok": False, "error": str(error)}
        self.say(f"{scenario.name} {number}/{self.options.rounds} {name}: {_brief(scenario, sample)}")
        return sample

    @contextlib.contextmanager
    def _running(self, name: str, scenario: Scenario, origin: Origin) -> Iterator[Running]:
        directory = self._fresh(name)
        directory.mkdir()
        wanted = Wanted(tuple(origin.addresses[: scenario.backends]), scenario.workers)
        with TARGETS[name].start(directory, wanted) as target:
            self._learn(name, target, directory)
            yield target

    def _learn(self, name: str, target: Running, directory: Path) -> None:
        """Its command line and configuration, the shortest that it had: a thousand backends are a thousand lines."""
        texts = {"command": target.command, "config": target.config}
        texts = {key: text.replace(str(directory), "DIR") for key, text in texts.items()}
        known = self.known.setdefault(name, {"title": TARGETS[name].title, "product": TARGETS[name].product})
        if "command" not in known or len(texts["command"] + texts["config"]) < len(known["command"] + known["config"]):
            known |= texts


@functools.cache
def _absent(name: str) -> str | None:
    try:
        TARGETS[name].version()
    except Missing as error:
        return str(error)
    return None


def _describe(scenario: Scenario, seconds: float) -> dict[str, Any]:
    return {
        "name": scenario.name,
        "title": scenario.title,
        "what": scenario.what,
        "sweep": scenario.sweep,
        "mode": scenario.mode,
        "at": scenario.at,
        "metrics": [asdict(metric) for metric in scenario.metrics],
        "goals": [asdict(goal) for goal in scenario.goals],
        "load": asdict(scenario.load) | {"kind": type(scenario.load).__name__, "seconds": seconds},
    }


def _described(sweep: Sweep) -> dict[str, Any]:
    texts = {key: getattr(sweep, key) for key in ("name", "title", "axis", "words", "what")}
    return texts | {"panels": [list(panel) for panel in sweep.panels]}


def _measured(scenario: Scenario, origin: Origin, target: Running, seconds: float) -> dict[str, Any]:
    meter = Meter(target.workers, target.control, [origin.child.pid, *descendants(origin.child.pid)])
    base = private_b([*target.workers, *target.control])
    meter.begin()
    done = scenario.load.run(target.address, seconds, lambda: private_b(target.workers))
    usage = meter.end()
    return {
        "ok": True,
        "figures": figures(scenario.unit, done, usage) | {"base_mb": round(base / 1e6, 1)},
        "usage": asdict(usage) | {"foreign": round(usage.foreign, 4), "steal": round(usage.steal, 4)},
        "load": {key: value for key, value in asdict(done).items() if key not in ("latency_us", "memory_b")},
    }


def figures(unit: Unit, done: Done, usage: Usage) -> dict[str, float]:
    """A sample's figures, in the units of its scenario's metrics."""
    count = (done.bytes if unit.scale > 1 else done.answers) / unit.scale
    found = {
        "rate": count / done.seconds,
        "machine_cpu": usage.busy_ns / count / unit.cpu_ns,
        **done.latency_us,
    }
    if usage.worker_ns:
        found["worker_cpu"] = usage.worker_ns / count / unit.cpu_ns
    if done.memory_b is not None:
        found["memory_b"] = done.memory_b
    return {key: float(f"{value:.6g}") for key, value in found.items()}


def _brief(scenario: Scenario, sample: dict[str, Any]) -> str:
    """One line for the terminal."""
    if not sample["ok"]:
        return f"FAILED: {sample['error']}"
    shown = [metric for metric in scenario.metrics if metric.key in sample["figures"]][:3]
    return ", ".join(f"{metric.title} {sample['figures'][metric.key]:,.4g} {metric.unit}".strip() for metric in shown)


def say_to_stderr(line: str) -> None:
    """The usual `Say`."""
    print(line, file=sys.stderr, flush=True)
