"""Starts the engine processes, all at once, and passes jobs to them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Any

from .protocol import Failure, Job, Result, Settings, read, write

THREADS = 1
"""Threads that a framework may use; more only contend, since the engines run side by side."""

PATIENCE = 600.0
"""Seconds after which a job that has not ended counts as hung, and its engine is killed."""

ENVIRONMENT: Mapping[str, str] = {
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(THREADS)
    ),
    "TF_NUM_INTRAOP_THREADS": str(THREADS),
    "TF_NUM_INTEROP_THREADS": str(THREADS),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "0",
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_cpu_multi_thread_eigen=false "
    # At level 0 a fusion may compute the operand of a maximum anew, and find it in neither place.
    "--xla_disable_hlo_passes=fusion "
    f"intra_op_parallelism_threads={THREADS}",
}  # fmt: skip
"""What is pinned in every engine process: the device, threads, precision, and silence."""

START = (
    "import sys; sys.path.append({root!r}); "
    "from mlc.equivalence.engines.worker import main; main({target!r})"
)


class EngineMissing(Exception):
    """The packages of a target are not installed."""


class EngineDied(Exception):
    """An engine process ended, or was killed because it hung; the message holds its last words."""


class RunFailed(Exception):
    """The artefact raised in its framework; the engine lives on."""


class Engine:
    """One framework's process. Jobs are done in the order in which they are submitted."""

    def __init__(self, target: str, cache: str) -> None:
        self.target = target
        self._log = tempfile.TemporaryFile()  # noqa: SIM115, closed by `close`
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", START.format(root=_root(), target=target)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **ENVIRONMENT, "JAX_COMPILATION_CACHE_DIR": cache},
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"engine-{target}")
        self._broken: Exception | None = None
        self._settings = self._thread.submit(self._first)

    @property
    def settings(self) -> Settings:
        """What it runs on; waits for its start. Raises EngineMissing or EngineDied."""
        return self._settings.result()

    @property
    def died(self) -> bool:
        """Whether it has been found dead, and may be started anew."""
        return isinstance(self._broken, EngineDied)

    def submit(self, job: Job) -> Future[Result]:
        """The job's result, later; its exceptions are EngineMissing, EngineDied and RunFailed."""
        return self._thread.submit(self._do, job)

    def close(self) -> None:
        """Ends the process; jobs that have not begun are dropped."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._thread.shutdown(wait=True)
        for stream in (self._process.stdin, self._process.stdout, self._log):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()

    def _first(self) -> Settings:
        answer = self._read()
        if isinstance(answer, Failure):
            problem = EngineMissing if answer.missing else EngineDied
            self._broken = problem(answer.message)
            raise self._broken
        assert isinstance(answer, Settings)
        return answer

    def _do(self, job: Job) -> Result:
        if self._broken is not None:
            raise self._broken
        try:
            assert self._process.stdin is not None
            write(self._process.stdin, job)
        except OSError:
            raise self._death() from None
        answer = self._read()
        if isinstance(answer, Failure):
            raise RunFailed(f"{answer.kind}: {answer.message}")
        assert isinstance(answer, Result)
        return answer

    def _read(self) -> Any:
        assert self._process.stdout is not None
        watch = Timer(PATIENCE, self._process.kill)
        watch.daemon = True
        watch.start()
        try:
            return read(self._process.stdout)
        except (EOFError, ValueError):
            raise self._death() from None
        finally:
            watch.cancel()

    def _death(self) -> Exception:
        """What the process died of, kept for every later job."""
        if self._broken is None:
            code = self._process.wait()
            cause = f"signal {-code}" if code < 0 else f"exit code {code}"
            self._log.seek(0)
            lines = self._log.read().decode(errors="replace").strip().splitlines()
            self._broken = EngineDied("\n".join([f"it ended with {cause}", *lines[-8:]]))
        return self._broken


class Pool:
    """Engines by target, started at once; a context manager that ends them."""

    def __init__(self, targets: Iterable[str] = ()) -> None:
        self._cache = tempfile.TemporaryDirectory(prefix="mlc-jax-")
        self._engines: dict[str, Engine] = {}
        self.start(targets)

    def start(self, targets: Iterable[str]) -> None:
        """Starts those engines that do not run yet, or have died; does not wait for them."""
        for target in targets:
            engine = self._engines.get(target)
            if engine is not None and not engine.died:
                continue
            if engine is not None:
                engine.close()
            self._engines[target] = Engine(target, self._cache.name)

    def __getitem__(self, target: str) -> Engine:
        return self._engines[target]

    def close(self) -> None:
        """Ends every process."""
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
        self._cache.cleanup()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _root() -> str:
    """The folder from which `import mlc` works, for the child's path."""
    package = sys.modules[__name__.partition(".")[0]]
    assert package.__file__ is not None
    return str(Path(package.__file__).parent.parent)
