"""Whether emitted files compute what their graph means, gradients included."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeAlias

from ..compiler.clone import clone
from ..compiler.graph import Graph, Node, Weight
from ..compiler.passes.dce import reached
from ..compiler.passes.noise import as_inputs
from . import feeds, tpu
from .bisect import bisect
from .case import MODES, Case, rough, settle
from .compare import ROUGH, VERDICTS, Row, judge
from .deviation import deviate, touched
from .dropout import SCALE, rates, watch
from .engines.pool import EngineDied, EngineMissing, Pool, RunFailed
from .engines.protocol import Result
from .faults import FAULTS, look
from .freshness import drawn
from .noise import BF16
from .reference import AGREEMENT, Joint, Key, joint
from .report import Deviated, EngineReport, Report, Unseen
from .sizes import choose
from .target import Emitted, Target

Progress: TypeAlias = Callable[[int, int, str], None]

AGAIN = 7919
"""What is added to a seed for the second draw of a case in which a target differs."""

AHEAD = 2
"""How many cases the engines may be behind the reference: each holds every gradient."""


class Plan(NamedTuple):
    """A case that is to be drawn. Of variant 0, with every input and no weight tiny; of variant 1,
    without inputs that may be left out, and with weights so small that every eps shows."""

    mode: str
    sizes: dict[str, int]
    seed: int
    variant: int


Jobs: TypeAlias = "list[tuple[Target, Future[Result]]]"
"""The folders of one target that run a case, and their results, later."""


def verify(
    graph: Graph,
    artefacts: Mapping[str, str | Path | Emitted],
    *,
    weights: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (0,),
    modes: Sequence[str] = MODES,
    sizes: int = 2,
    progress: Progress | None = None,
    pool: Pool | None = None,
    mean: float = feeds.MEAN,
    faults: bool = False,
    for_tpu: bool = False,
) -> Report:
    """Runs each artefact (target -> folder) and compares it with the reference in float64.

    Outputs, gradients by every float input and every parameter, and updated buffers, for each seed,
    mode ("inference", "training"), and up to `sizes` choices of the symbolic sizes. A target whose
    framework has no gradients may come with folders of the model with gradients, see `Emitted`;
    without them only its inference is compared. `weights` are canonical tensors; without them, ones
    are generated for each seed that make faults visible. `progress` is called with steps done,
    steps in all, and what was done. `pool` lends engines that run already; without it they are
    started, and ended. `mean` is that of float inputs. `faults` asks which faults the run would
    have seen, see `faults`. `for_tpu` says that artefacts are for TPUs: what they multiply when
    lowered for one must be bfloat16, and noise is that of bfloat16. MlcError if no inputs can be
    chosen.
    """
    with ExitStack() as stack:
        if pool is None:
            pool = stack.enter_context(Pool())
        pool.start(artefacts)
        directory = stack.enter_context(TemporaryDirectory(prefix="mlc-verify-"))
        targets = [Target(name, folder, directory) for name, folder in artefacts.items()]
        run = _Run(graph, targets, pool, weights, progress, mean, faults, for_tpu)
        return run.run(seeds, [mode for mode in MODES if mode in modes], sizes)


class _Run:
    """One verification: its cases, the jobs that are under way, and the report."""

    def __init__(
        self,
        graph: Graph,
        targets: Sequence[Target],
        pool: Pool,
        weights: Mapping[str, Any] | None,
        progress: Progress | None,
        mean: float,
        faults: bool,
        for_tpu: bool = False,
    ) -> None:
        self.graph, _ = clone(graph)
        as_inputs(self.graph)
        self.targets = targets
        self.pool = pool
        self.weights = weights
        self.progress = progress
        self.mean = mean
        self.faults = tuple(FAULTS.values()) if faults else ()
        self.cases: list[Case] = []
        self.for_tpu = for_tpu
        self.lowered: set[str] = set()
        self.report = Report(graph.name)
        if for_tpu:
            self.report.rounding, self.report.limit = "bf16", ROUGH
        self.joints: dict[str, Joint] = {}
        self.first: Case | None = None
        self.trained: Case | None = None
        self.second: Case | None = None
        self.broken: set[str] = set()
        self.varied = weights is None and feeds.varied(graph)
        nodes = reached(graph.outputs.values())
        self.needed = {v.name for node in nodes for v in node.values if isinstance(v, Weight)}
        self.needed |= {v.name for v in graph.outputs.values()}
        self.done = self.steps = 0

    def run(self, seeds: Sequence[int], modes: Sequence[str], count: int) -> Report:
        plans = list(self._plans(seeds, modes, count))
        self.steps = len(plans) * (1 + len(self.targets)) + len(self.faults)
        under_way: deque[tuple[Case, list[tuple[Target, Jobs]]]] = deque()
        for plan in plans:
            case = self._case(plan)
            self._step(f"reference, {plan.mode} {case.title}")
            self.cases += [case] if self.faults else []
            self.first = self.first or case
            if plan.mode == "training" and self.trained is None:
                self.trained = case
            under_way.append((case, self._submit(case)))
            if len(under_way) > AHEAD:
                self._settle(*under_way.popleft())
        for case, jobs in under_way:
            self._settle(case, jobs)
        self._finish(modes)
        return self.report

    def _settle(self, case: Case, jobs: Sequence[tuple[Target, Jobs]]) -> None:
        """Judges every target's run of a case, and lets go of what only that took."""
        for target, parts in jobs:
            self._judge(case, target, parts)
            self._step(f"{target.name}, {case.mode} {case.title}")
            if self.for_tpu and case.mode not in self.lowered:
                self._lower(case, target)
            if case.moved:
                target.discard_weights(self._label(case))
        self.second = None

    def _plans(self, seeds: Sequence[int], modes: Sequence[str], count: int) -> Iterator[Plan]:
        """The cases: optional inputs are given and not, what is normalised is small and tiny."""
        choices = choose(self.graph, count)
        may = any(given.default is not None for given in self.graph.inputs)
        if (may or self.varied) and len(choices) == 1:
            choices = choices * 2
        for seed in seeds:
            for mode in modes:
                for i, sizes in enumerate(choices):
                    yield Plan(mode, sizes, seed, i % 2)

    def _case(self, plan: Plan) -> Case:
        if plan.mode not in self.joints:
            self.joints[plan.mode] = joint(self.graph, plan.mode == "training")
        if self.for_tpu:
            return rough(
                self.graph, self.joints[plan.mode], plan.mode, plan.sizes, plan.seed,
                self._weights(plan._replace(variant=0)), optional=plan.variant == 0,
            )  # fmt: skip
        free = [path for path, weight in self.graph.weights.items() if weight.data is None]
        case = settle(
            self.graph, self.joints[plan.mode], plan.mode, plan.sizes, plan.seed,
            self._weights(plan), optional=plan.variant == 0,
            free=free if self.weights is None else (), mean=self.mean,
        )  # fmt: skip
        self.report.gradient_error = max(self.report.gradient_error, case.gradient_error)
        return replace(case, variant=plan.variant)

    def _weights(self, plan: Plan) -> Mapping[str, Any]:
        """The user's weights, those that the graph holds, or generated ones."""
        if self.weights is not None:
            return self.weights
        rng = feeds.seeded(plan.seed)
        drawn = feeds.weights(self.graph, rng, least=feeds.LEAST[plan.variant])
        held = {p: w.data for p, w in self.graph.weights.items() if w.data is not None}
        return drawn | held

    def _submit(self, case: Case) -> list[tuple[Target, Jobs]]:
        """Starts the case on every target that has its mode."""
        parts = {target: target.parts(case.mode) for target in self.targets}
        return [
            (target, [(part, self._send(case, part)) for part in each])
            for target, each in parts.items()
            if each
        ]

    def _send(self, case: Case, target: Target, *, watch: bool = False) -> Future[Result]:
        job = target.job(case.feed, case.mode == "training", self._label(case), watch=watch)
        return self.pool[target.name].submit(job)

    def _lower(self, case: Case, target: Target) -> None:
        """Looks at what a target multiplies on a TPU, once for each mode."""
        self.lowered.add(case.mode)
        job = target.job(case.feed, case.mode == "training", self._label(case), lower=True)
        try:
            found = self.pool[target.name].submit(job).result().products
            self.report.rows += tpu.rows(target.name, case, found)
        except RunFailed as error:
            row = Row(target.name, case.mode, case.title, "product", "all", "failed")
            self.report.rows.append(replace(row, note=str(error)))
        except (EngineMissing, EngineDied) as error:
            self._break(target.name, error)

    def _label(self, case: Case) -> str:
        """What tells one file of weights from another."""
        own = [case.mode, *map(str, case.sizes.values())] if case.moved else []
        own += [f"variant{case.variant}"] if self.varied else []
        return "-".join([str(case.seed) if self.weights is None else "given", *own])

    def _judge(self, case: Case, target: Target, jobs: Jobs) -> None:
        """Adds the rows of a case; where one differs, a second draw must confirm it."""
        rows = self._rows(case, jobs)
        if any(row.verdict == "different" for row in rows.values()):
            if self.second is None:
                again = Plan(case.mode, case.sizes, case.seed + AGAIN, case.variant)
                self.second = self._case(again)
            sent = [(part, self._send(self.second, part)) for part, _ in jobs]
            second = self._rows(self.second, sent)
            self._find(case, jobs)
            rows = {key: _confirm(row, second.get(key)) for key, row in rows.items()}
        self.report.rows += rows.values()

    def _find(self, case: Case, jobs: Jobs) -> None:
        """Looks for the first layer that is off, once for each target, in the folder that is.

        Where only gradients are off, every layer agrees.
        """
        name = jobs[0][0].name
        if self.for_tpu:
            return
        if any(finding.target == name for finding in self.report.findings):
            return
        with suppress(EngineMissing, EngineDied):
            off = (p for p, job in jobs if any(map(_is_forward, self._part(case, p, job))))
            part = next(off, None)
            if part is None:
                return
            found = bisect(self.graph, part, case.feed, case.mode, self.pool)
            self.report.findings += [found] if found is not None else []

    def _rows(self, case: Case, jobs: Jobs) -> dict[Key, Row]:
        """A row for each tensor of the reference: of those from several folders, the worst."""
        rows: dict[Key, Row] = {}
        for part, job in jobs:
            for row in self._part(case, part, job):
                if row.key not in rows or _rank(row) > _rank(rows[row.key]):
                    rows[row.key] = row
        return rows

    def _part(self, case: Case, target: Target, job: Future[Result]) -> list[Row]:
        """A row for each tensor of the reference that a folder of a target should give."""
        blank = Row(target.name, case.mode, case.title, "output", "", "failed")
        try:
            found = target.tensors(job.result())
        except (EngineMissing, EngineDied) as error:
            self._break(target.name, error)
            return []
        except RunFailed as error:
            keys = [key for key in case.truth if self._expected(key, case, target)]
            outputs = [key for key in keys if key.kind == "output"]
            failed = keys if target.label != target.name else outputs
            return [replace(blank, kind=k.kind, name=k.name, note=str(error)) for k in failed]
        truth = deviate(case.joint, case.feed, case.truth, target.deviations)
        unseen = {
            **case.unseen, **touched(target.deviations), **self._unbelieved(case),
            **self._left_out(case, target),
        }  # fmt: skip
        rows = []
        for key, wanted in truth.items():
            if not self._expected(key, case, target):
                continue
            row = replace(blank, kind=key.kind, name=key.name)
            if key in unseen:
                rows.append(replace(row, verdict="unseen", note=unseen[key]))
            elif key not in found:
                rows.append(replace(row, verdict="failed", note="the target does not give it"))
            else:
                rows.append(judge(row, found[key], wanted, case.scales[key]))
        return rows

    def _expected(self, key: Key, case: Case, target: Target) -> bool:
        """Whether the target's run of this case has such a tensor at all."""
        if key.kind.endswith("gradient") and not target.gives_gradients:
            return False
        return key.kind != "input gradient" or key.name in case.feed.inputs

    def _left_out(self, case: Case, target: Target) -> dict[Key, str]:
        """Tensors of weights that the target has not, where no output depends on them."""
        reason = "no output depends on it, and the target leaves it out"
        return {
            key: reason
            for key in case.truth
            if key.kind in ("parameter gradient", "update")
            and key.name not in target.weights | self.needed
        }  # fmt: skip

    def _unbelieved(self, case: Case) -> dict[Key, str]:
        """Gradients of the reference that a central difference does not bear out."""
        if case.gradient_error <= AGREEMENT:
            return {}
        reason = f"the reference's gradient is {case.gradient_error:.0e} off a central difference"
        return {key: reason for key in case.truth if key.kind.endswith("gradient")}

    def _break(self, target: str, error: Exception) -> None:
        """Notes once that an engine is missing or has died."""
        if target not in self.broken:
            self.broken.add(target)
            problem = "missing" if isinstance(error, EngineMissing) else "died"
            self.report.engines.append(EngineReport(target, problem=problem, message=str(error)))

    def _finish(self, modes: Sequence[str]) -> None:
        """Adds the engines' settings, the check of dropout, and what was not seen."""
        for target in self.targets:
            try:
                settings = self.pool[target.name].settings
            except (EngineMissing, EngineDied) as error:
                self._break(target.name, error)
                continue
            if target.name not in self.broken:
                self.report.engines.append(_engine(target.name, settings))
            self.report.deviations += [
                Deviated(target.name, d.name, d.formula, d.tensors) for d in target.deviations
            ]
        self._chance()
        self._masks()
        self.report.unseen += self._unseen(modes)
        self._look()

    def _look(self) -> None:
        """Which faults the run would have seen, in what it could judge."""
        judged: dict[str, set[Key]] = {}
        for row in self.report.rows:
            if row.verdict not in ("unseen", "failed"):
                judged.setdefault(row.mode, set()).add(row.key)
        for fault in self.faults:
            self.report.sights.append(look(fault, self.cases, judged))
            self._step(fault.name)

    def _chance(self) -> None:
        """What each dropout layer does at its own rate, for which one case in training mode is
        needed, and what noise is drawn."""
        wanted = rates(self.graph) if self.trained is not None else []
        case = self.trained or self.first
        if case is None or not (wanted or any(given.noise for given in self.graph.inputs)):
            return
        failed = {row.target for row in self.report.rows if row.verdict == "failed"}
        for target in self.targets:
            if target.differentiable and target.name not in self.broken | failed:
                try:
                    found = self._send(case, target, watch=True).result()
                except (EngineMissing, EngineDied) as error:
                    self._break(target.name, error)
                    continue
                except RunFailed as error:
                    kind = "dropout" if wanted else "noise"
                    blank = Row(target.name, case.mode, case.title, kind, "all", "failed")
                    self.report.rows.append(replace(blank, note=str(error)))
                    continue
                scale = BF16.product if self.for_tpu else SCALE
                drops = found.drops if wanted else ()
                rows, unseen = watch(target.name, case.title, wanted, drops, scale)
                noise = target.interface.noise
                rows += drawn(target.name, case.mode, case.title, noise, found.draws)
                self.report.rows += rows
                self.report.unseen += unseen

    def _masks(self) -> None:
        """Says of files whose masks of dropout are inputs what they were fed."""
        if rates(self.graph) and self.trained is not None:
            reason = "its masks are inputs, and they were such that nothing is dropped"
            self.report.unseen += [
                Unseen("what dropout drops", reason, target.name)
                for target in self.targets
                if "training" in target.companions
            ]

    def _unseen(self, modes: Sequence[str]) -> list[Unseen]:
        """What no row shows, and the rows that could not be judged."""
        found = [
            unseen
            for target in self.targets
            if not target.differentiable and target.name not in self.broken
            for unseen in _lacking(target, modes)
        ]
        found += [
            Unseen(f"{mode} mode", "it was not asked for") for mode in MODES if mode not in modes
        ]
        if any(node.op.name in ("attention", "sdpa") and _masked(node) for node in self.graph):
            reason = (
                "no mask that is drawn has one; the language gives zeros, some frameworks do not"
            )
            found.append(Unseen("a row of attention that may attend to nothing", reason))
        for mode, each in self.joints.items():
            if each.no_gradient:
                found.append(Unseen(f"gradients in {mode} mode", each.no_gradient))
        reasons: dict[tuple[str, str], list[str]] = {}
        for row in self.report.rows:
            if row.verdict == "unseen":
                names = reasons.setdefault((row.note, row.target), [])
                names += [str(row.key)] if str(row.key) not in names else []
        for (reason, name), keys in reasons.items():
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            found.append(Unseen(", ".join(keys[:3]) + more, reason, name))
        return found

    def _step(self, text: str) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(min(self.done, self.steps), self.steps, text)


def _is_forward(row: Row) -> bool:
    """Whether it is a result that differs, and no gradient."""
    return row.verdict == "different" and not row.kind.endswith("gradient")


def _rank(row: Row) -> tuple[int, float]:
    """Rows by this go from the best to the worst."""
    return VERDICTS.index(row.verdict), row.ratio


def _lacking(target: Target, modes: Sequence[str]) -> Iterator[Unseen]:
    """What of the modes that were asked for no folder of a target gives, and why."""
    if target.interface.gradients is not None:
        return
    if not target.companions and not target.refused:
        reason = "its framework has no gradients"
        yield Unseen("gradients and training mode", reason, target.name)
        return
    what = {"inference": "gradients in inference mode", "training": "training mode"}
    for mode in modes:
        if mode not in target.companions:
            reason = target.refused.get(mode, "no file of it was emitted")
            yield Unseen(what[mode], reason, target.name)


def _masked(node: Node) -> bool:
    names = [name.rstrip("?") for name in node.op.inputs]
    return any(
        name in ("keep", "mask") and value is not None
        for name, value in zip(names, node.inputs, strict=False)
    )


def _confirm(row: Row, second: Row | None) -> Row:
    """A row that is above the limit in one draw and below it in the other is only suspicious."""
    if row.verdict != "different" or second is None or second.verdict in ("different", "failed"):
        return row
    note = f"a second draw gives {second.ratio:.3g}" if second.verdict == "equal" else second.note
    return replace(row, verdict="suspicious", note="; ".join(filter(None, (row.note, note))))


def _engine(target: str, settings: Any) -> EngineReport:
    return EngineReport(
        target, dict(settings.versions), settings.device, settings.precision, settings.threads
    )
