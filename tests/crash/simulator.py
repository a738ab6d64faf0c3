"""Several hosts over one store, in one thread and in virtual time, with all that can go wrong, drawn from one seed.

A simulation has two acts. In the first, hosts die, freeze, have their wall clocks set and their disks filled, while
clients start, stop and answer runs from every side. In the second nothing goes wrong any more: one host takes over what
was left, people answer what is asked, and every run has to come to its rest. `Referee` holds every write and every body
of both against what may be.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final

import attrs

from statemachine_flow.builder import Workflow
from statemachine_flow.engine.asynchronous import AsyncEngine
from statemachine_flow.errors import SmfError, StoreError
from statemachine_flow.lifecycle import RUN_AT_REST, RunState
from statemachine_flow.stores.base import RunFilter
from statemachine_flow.testing import Died
from tests.crash.engines import Host, Stage
from tests.crash.flows import MAKERS
from tests.crash.hosts import Violation
from tests.crash.referee import ONCE
from tests.engine.harness import check_run

#: How often the host that recovers does so, in seconds.
RECOVER_SECONDS: Final = 2.0
#: G25: for how long after the lease a run may wait for its new owner.
SLACK: Final = 5.0
_DAY: Final = 86_400 * 10**6
_JUMPS: Final = (_DAY, -_DAY, 3_600 * 10**6, -5 * 10**6, 7 * 10**6, -1_800_000_000_000_000)
_ALL: Final = RunFilter(limit=10_000)
#: What operations may be answered with.
_ANSWERS: Final = ("run.", "usage", "store.busy", "store.full", "input.", "transition.")


_Asked = Callable[[AsyncEngine], Coroutine[Any, Any, Any]]


@cache
def workflows() -> Sequence[Workflow]:
    """Compiled once; runs share them."""
    return [make() for make in MAKERS]


@attrs.frozen
class Said:
    """An operation of a client that was acknowledged."""

    operation: str
    run_id: str
    answer: Any


class Simulation(Stage):
    """One seed's world.

    Args:
        seed: all that happens follows from it.
    """

    machines: list[Host]  # type: ignore[assignment]  # all machines are hosts

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.said: list[Said] = []
        self.answers: Counter[str] = Counter()
        self.words = 0
        for number in range(self.rng.randint(2, 4)):
            self.machines.append(Host(self, number))
        self.run_ids = [f"r{number}" for number in range(self.rng.randint(3, 8))]
        self.shapes = {run_id: self.rng.choice(workflows()) for run_id in self.run_ids}
        #: The host that recovers again and again.
        self.healer = self.machines[0]

    # --- what clients do

    def ask(self, host: Host, name: str, operation: _Asked, run_id: str) -> None:
        """Have a client on a host do something."""
        if host.engine is not None and not host.engine._closed:
            host.spawn(self._asked(host.engine, name, operation, run_id))

    async def _asked(self, engine: AsyncEngine, name: str, operation: _Asked, run_id: str) -> None:
        try:
            answer = await operation(engine)
        except SmfError as error:
            if not error.kind.startswith(_ANSWERS):
                self.violate(f"{name} {run_id}: {error.kind}: {error}")
            self.answers[f"{name} {error.kind}"] += 1
        except (asyncio.CancelledError, Died):
            pass
        except BaseException as error:  # noqa: BLE001 - whatever a client gets that it must not
            self.violate(f"{name} {run_id}: {error!r}")
        else:
            self.answers[f"{name} done"] += 1
            self.said.append(Said(name, run_id, answer))

    def operate(self) -> None:
        """Some client does something to some run, from some host."""
        name = self.rng.choices(list(_OPERATIONS), [weight for weight, _ in _OPERATIONS.values()])[0]
        steps, runs = self.referee.steps, self.referee.runs
        meant = {
            "retry": [run_id for run_id, state in runs.items() if state == RunState.FAILED],
            "resolve": [key[0] for key, (state, _) in steps.items() if (key[1], state) == (ONCE, "interrupted")],
            "decide": [key[0] for key, (state, _) in steps.items() if (key[1], state) == ("gate", "waiting")],
        }.get(name) or [run_id for run_id, state in runs.items() if state not in RUN_AT_REST]
        run_id = self.rng.choice(meant if meant and self.rng.random() < 0.85 else self.run_ids)
        busy = [host for host in self.machines if host.engine is not None and host.engine._core.workers]
        host = self.rng.choice(busy if busy and self.rng.random() < 0.6 else self.machines)
        _OPERATIONS[name][1](self, host, run_id)

    def begin(self, host: Host, run_id: str) -> None:
        """Start a run, sometimes from two sides at once."""
        if run_id not in self.shapes:
            return  # a child run: its parent starts it
        for each in [host] if self.rng.random() < 0.8 else self.machines:
            self.ask(each, "start", lambda engine: engine.start(self.shapes[run_id], run_id=run_id), run_id)

    def resume(self, host: Host, run_id: str) -> None:
        for each in [host] if self.rng.random() < 0.6 else self.machines:
            self.ask(each, "resume", lambda engine: engine.resume(run_id), run_id)

    def force(self, host: Host, run_id: str) -> None:
        if self.neighbours != "processes":  # there, everybody knows who lives
            self.referee.forced.add(run_id)
        self.ask(host, "force", lambda engine: engine.resume(run_id, take_over=True), run_id)

    def recover(self, host: Host, _run_id: str = "") -> None:
        for each in [host] if self.rng.random() < 0.6 else self.machines:
            self.ask(each, "recover", lambda engine: engine.recover(), "all")

    def pause(self, host: Host, run_id: str) -> None:
        interrupt, patience = self.rng.random() < 0.4, self.rng.choice((0.0, 5.0))
        self.ask(host, "pause", lambda engine: engine.pause(run_id, interrupt=interrupt, timeout=patience), run_id)

    def cancel(self, host: Host, run_id: str) -> None:
        patience = self.rng.choice((0.0, 5.0))
        self.ask(host, "cancel", lambda engine: engine.cancel(run_id, timeout=patience), run_id)

    def retry(self, host: Host, run_id: str) -> None:
        self.referee.again[run_id] += 1
        self.ask(host, "retry", lambda engine: engine.retry(run_id), run_id)

    def signal(self, host: Host, run_id: str) -> None:
        self.words += 1
        word = f"word {self.words}"

        async def say(engine: AsyncEngine) -> str:
            await engine.signal(run_id, "go", word)
            return word

        self.ask(host, "signal", say, run_id)

    def decide(self, host: Host, run_id: str) -> None:
        choice = self.rng.choice(("approve", "approve", "reject"))
        self.ask(host, "decide", lambda engine: engine.approve(run_id, "gate", choice=choice), run_id)

    def resolve(self, host: Host, run_id: str) -> None:
        as_: Any = self.rng.choice(("retry", "completed", "failed"))
        self.referee.again[run_id] += as_ == "retry"
        self.ask(host, "resolve", lambda engine: engine.resolve(run_id, ONCE, as_), run_id)

    # --- what goes wrong

    def crash(self, host: Host, _run_id: str = "") -> None:
        """A process dies, and another one comes later, or never."""
        if not host.is_up:
            return
        nonce, after = host.crash(), self.rng.choice((0.0, 1.0, self.lease / 2, self.lease * 2, 1e9))
        host.awake = True
        died = self.now
        self.referee.figures["crashes"] += 1
        self.at(self.now + after, lambda: None if host.is_up else host.boot())
        self.at(self.now + self.lease + SLACK, lambda: self._check_liveness(nonce, died))

    def _check_liveness(self, nonce: str, since: float) -> None:
        if self.healer.is_up and self.healer.awake and self.healer.ill < since:
            self.referee.figures["liveness"] += 1
            self.referee.check_liveness(nonce, self.inner)

    def stall(self, host: Host, _run_id: str = "") -> None:
        """A process gets no time for a while; then all that it has missed happens at once."""
        if not host.is_up or not host.awake:
            return
        self.referee.figures["stalls"] += 1
        host.awake, host.ill = False, self.now
        boots = host.boots

        def wake() -> None:
            if host.boots == boots:
                host.awake = True
                host.ill = self.now

        self.at(self.now + self.rng.choice((0.2, 1.2, 1.6, 3.0)) * self.lease, wake)

    def jump(self, host: Host, _run_id: str = "") -> None:
        """A wall clock is set."""
        host.wrong = self.rng.choice((0, *_JUMPS))
        self.referee.figures["jumps"] += 1

    def break_store(self, host: Host, _run_id: str = "") -> None:
        """A store that is busy or full for a while."""
        until = self.now + self.rng.choice((0.05, 1.0, self.lease * 0.9))
        for each in [host] if self.rng.random() < 0.5 else self.machines:
            each.faulty_until, each.fault = until, self.rng.choice(("store.busy", "store.full"))
            each.ill = until
        self.referee.figures["store faults"] += 1

    def close(self, host: Host, _run_id: str = "") -> None:
        """An engine is closed as it should be, and the process goes on with another one."""
        engine = host.engine
        if engine is None:
            return
        nonce = host.nonce

        async def end() -> None:
            with contextlib.suppress(SmfError):
                await engine.close()
            self.referee.lives[nonce].is_over = True

        task, host.ill = host.spawn(end()), self.now

        def again(_task: Any) -> None:
            if host.engine is engine:
                host.crash()
                host.boot()

        task.add_done_callback(again)

    # --- the two acts

    def play(self) -> None:
        """Both acts.

        Raises:
            Violation: something happened that must not.
        """
        self._heal()
        length = self.lease * 3 + 30
        for run_id in self.run_ids:
            self.at(self.rng.uniform(0, length * 0.8), partial(self._begin_somewhere, run_id))
        for _ in range(self.rng.randint(20, 60)):
            self.at(self.rng.uniform(0, length), self.operate)
        self.pass_until(length)
        self._mend()
        self.pass_until(self.now + self.lease + SLACK + RECOVER_SECONDS)
        for nonce, life in self.referee.lives.items():
            if life.is_over:
                self.referee.check_liveness(nonce, self.inner)
        self._begin_anew()
        self._bring_to_rest()
        self._check()

    def _begin_somewhere(self, run_id: str) -> None:
        self.begin(self.rng.choice(self.machines), run_id)

    def _heal(self, boots: int = 0) -> None:
        """The healer recovers, one time after the other; where it is dead, it is looked for again."""
        if self.healer.is_up and boots != self.healer.boots:
            self.healer.spawn(self._healing(self.healer.engine))
        boots = self.healer.boots if self.healer.is_up else 0
        self.at(self.now + RECOVER_SECONDS, lambda: self._heal(boots))

    async def _healing(self, engine: AsyncEngine | None) -> None:
        assert engine is not None
        while not engine._closed:
            with contextlib.suppress(StoreError):
                recovery = await engine.recover()
                for run_id, error in recovery.refused.items():
                    if not isinstance(error, StoreError):
                        self.violate(f"{run_id} could not be taken over: {error}")
            await asyncio.sleep(RECOVER_SECONDS)

    def _mend(self) -> None:
        """Nothing goes wrong any more; who is dead stays dead, but for one."""
        self.is_rough = False
        for host in self.machines:
            host.ill = host.ill if host.awake else self.now
            host.awake, host.wrong, host.faulty_until = True, 0, 0.0
        if not self.healer.is_up:
            self.healer.boot()

    def _begin_anew(self) -> None:
        """The power fails everywhere, and comes back days later: what waits for a time has waited long enough."""
        for host in self.machines:
            if host.is_up:
                host.crash()
            host.wrong = 3 * _DAY
            host.boot()
        self.pass_until(self.now + self.lease + SLACK)

    def _bring_to_rest(self) -> None:
        """People see to every run that does not go on by itself."""
        for _ in range(60):
            rows = [row for row in self.inner.rows(_ALL) if row.state not in RUN_AT_REST]
            if not rows:
                return
            for row in rows:
                above, dot, _ = row.id.partition(".")
                # A child goes on with the run above it, unless somebody paused it for its own sake.
                is_alone = row.state == RunState.PAUSED and self.referee.runs[above] == RunState.RUNNING
                if not dot or self.referee.runs[above] in RUN_AT_REST or is_alone:
                    self._attend(row.id)
            self.pass_until(self.now + 4)

    def _attend(self, run_id: str) -> None:
        row = self.inner.row(run_id)
        assert row is not None
        nonce = "" if row.owner is None else row.owner.nonce
        owners = [host for host in self.machines if host.is_up and host.nonce == nonce]
        host = owners[0] if owners else self.healer
        assert host.engine is not None
        if row.owner is None or run_id not in host.engine._core.workers:
            self.referee.figures["left by a living owner"] += bool(owners)
            is_cut_off = self.referee.steps.get((run_id, ONCE), ("",))[0] == "interrupted"
            if is_cut_off and not self.inner.requests(run_id):
                self.resolve(host, run_id)
            else:
                self.ask(host, "resume", lambda engine: engine.resume(run_id), run_id)
            return
        if self.referee.steps.get((run_id, "gate"), ("",))[0] == "waiting":
            self.decide(host, run_id)
        if self.referee.steps.get((run_id, "ear"), ("",))[0] == "waiting":
            self._check_unheard(run_id)
            self.signal(host, run_id)

    def _check_unheard(self, run_id: str) -> None:
        """A step that still waits for a signal was not told one."""
        said = [said.answer for said in self.said if (said.operation, said.run_id) == ("signal", run_id)]
        if said and not self.is_rough:
            records = self.inner.records(run_id)
            started = max((r.seq for r in records if r.kind == "step.wait" and r.step == "ear"), default=0)
            heard = [r.seq for r in records if r.kind == "run.signal"]
            if any(seq > started for seq in heard):
                self.violate(f"{run_id} waits for a signal that it was told")

    def _check(self) -> None:
        self.referee.check_rest(self.inner)
        for run_id in self.referee.runs:
            check_run(self.inner, run_id)
        for said in self.said:
            state = self.referee.runs.get(said.run_id, "")
            answered = getattr(said.answer, "state", "")
            if answered in (RunState.CANCELLED, RunState.COMPLETED) and state != answered:
                self.violate(f"{said.operation} said that {said.run_id} is {answered}, and it is {state}")
            if said.operation == "signal":
                self._check_word(said, state)
            if said.operation == "start" and not state:
                self.violate(f"{said.run_id} was started, and is not there")
        if self.violations:
            raise Violation("; ".join(self.violations))

    def _check_word(self, said: Said, state: str) -> None:
        times = self.referee.heard[said.answer]
        if times > 1 or (times == 0 and state not in RUN_AT_REST):
            self.violate(f"what was said to {said.run_id} was heard {times} times")

    def bury(self) -> None:
        """Let go of everything."""
        for host in self.machines:
            if host.is_up:
                host.crash()
        for loop in self.graves:
            loop.bury()

    @property
    def digest(self) -> str:
        """What happened, in short: the same for the same seed."""
        return hashlib.sha256("\n".join(self.referee.trace).encode()).hexdigest()[:16]


_Operation = Callable[[Simulation, Host, str], None]
#: How often, and what.
_OPERATIONS: Final[Mapping[str, tuple[int, _Operation]]] = {
    "start": (6, Simulation.begin),
    "resume": (8, Simulation.resume),
    "force": (1, Simulation.force),
    "recover": (5, Simulation.recover),
    "pause": (5, Simulation.pause),
    "cancel": (2, Simulation.cancel),
    "retry": (5, Simulation.retry),
    "signal": (6, Simulation.signal),
    "decide": (5, Simulation.decide),
    "resolve": (4, Simulation.resolve),
    "crash": (8, Simulation.crash),
    "stall": (8, Simulation.stall),
    "jump": (6, Simulation.jump),
    "break": (4, Simulation.break_store),
    "close": (2, Simulation.close),
}


def simulate(seed: int) -> Simulation:
    """Play one seed.

    Raises:
        Violation: something happened that must not; it says which seed.
    """
    simulation = Simulation(seed)
    try:
        simulation.play()
    except Violation as violation:
        raise Violation(f"seed={seed}: {violation}") from None
    except BaseException as error:
        raise Violation(f"seed={seed}: {error!r}") from error
    finally:
        simulation.bury()
    return simulation
