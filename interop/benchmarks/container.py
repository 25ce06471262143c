"""How long a container of the image takes until its broker answers, beside one of its base that does nothing.

Run ``python -m interop.benchmarks.container [--quick] [--rounds N] [--json FILE]``. In turns: `docker run`
of the base with `true` until it has returned, and `docker run` of the image until the published port answers
ApiVersions, asked for every 2 ms. What the second takes beyond the first is the image's own. Needs a Docker
engine, or root on Debian to start one (`interop/support/docker.py`).
"""

import sys
import time

from interop.benchmarks.client import parse_options
from interop.benchmarks.figures import Figures, Target, progress, report
from interop.containers.container import Container
from interop.support.docker import IMAGE, Docker, bases, build_image, docker_engine
from interop.support.process import answers_api_versions

ROUNDS = 7
TIMEOUT_S = 30.0
ASK_EVERY_S = 0.002
READY, BEYOND = "container, ms", "ready beyond `docker run BASE true`, ms"
PAIRS = (("pybroker", "base"),)
TARGETS = [Target(BEYOND, "pybroker", 600, at_least=False)]


def main() -> int:
    options = parse_options(__doc__, ROUNDS)
    figures = Figures("a container until its broker answers", options.rounds, PAIRS)
    with docker_engine() as docker:
        build_image(docker)
        base, _ = bases(docker)
        run_base(docker, base)
        run_broker(docker)
        for number in range(options.rounds):
            progress(f"round {number + 1} of {options.rounds}")
            idle_ms, ready_ms = run_base(docker, base), run_broker(docker)
            figures.add(READY, "base", idle_ms)
            figures.add(READY, "pybroker", ready_ms)
            figures.add(BEYOND, "pybroker", ready_ms - idle_ms)
    return 0 if report(figures, TARGETS, options.json, add=options.add) else 1


def run_base(docker: Docker, base: str) -> float:
    """Milliseconds of a container that does nothing."""
    started = time.perf_counter()
    docker("run", "--rm", base, "true")
    return (time.perf_counter() - started) * 1000


def run_broker(docker: Docker) -> float:
    """Milliseconds from the call of `docker run` to the first answer."""
    started = time.perf_counter()
    container = Container(docker, IMAGE)
    try:
        while not answers_api_versions(container.port):
            assert time.perf_counter() - started < TIMEOUT_S, f"no answer:\n{container.log()}"
            time.sleep(ASK_EVERY_S)
        return (time.perf_counter() - started) * 1000
    finally:
        container.remove()


if __name__ == "__main__":
    sys.exit(main())
