"""Results as Ray's trainables make them, with the same keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from raytuner.simulate import ray_private
from raytuner.simulate.trial import Actor, Run

_HOST = {"hostname": "simulated", "node_ip": "127.0.0.1"}

COUNTED = frozenset(
    {"time_this_iter_s", "time_total_s", "time_since_restore", "iterations_since_restore"}
)
"""What :func:`make_result` counts, whatever a report says of it."""


def make_result(
    run: Run, actor: Actor, now: float, *, metric: str, checkpoint_every: int | None
) -> dict[str, Any]:
    """What ``train()`` gives, after the unit that the actor has finished; the actor counts it.

    Args:
        run: The trial.
        actor: Its actor.
        now: Virtual seconds.
        metric: Name of a report that is a bare number.
        checkpoint_every: Iterations between checkpoints, if it saves any.
    """
    actor.iteration += 1
    actor.iterations_since_restore += 1
    report = run.curve.report(actor.iteration)
    assert report is not None
    result: dict[str, Any] = {metric: report} if isinstance(report, int | float) else dict(report)
    actor.time_total += actor.time_this_iter
    actor.time_since_restore += actor.time_this_iter
    result.setdefault("timestamp", int(now))
    result.setdefault("checkpoint_dir_name", None)
    result.setdefault("done", False)
    result.setdefault("training_iteration", actor.iteration)
    result.update(
        trial_id=run.trial.trial_id,
        date=_date(now),
        time_this_iter_s=actor.time_this_iter,
        time_total_s=actor.time_total,
        pid=actor.worker,
        **_HOST,
        config=run.trial.config,
        time_since_restore=actor.time_since_restore,
        iterations_since_restore=actor.iterations_since_restore,
    )
    if checkpoint_every is not None and actor.iteration % checkpoint_every == 0:
        result["should_checkpoint"] = True
        number = actor.iteration // checkpoint_every - 1
        result["checkpoint_dir_name"] = f"checkpoint_{number:06d}"
    return result


def flat_of(run: Run, result: dict[str, Any]) -> dict[str, Any]:
    """A result as hooks get it: flattened."""
    flat = result.copy()
    del flat["config"]
    if any(isinstance(value, dict) for value in flat.values()):
        flat = ray_private.flatten(flat)
    flat.update(run.flat_config)  # flattened once a trial
    return flat


def debug_metrics(run: Run, actor: Actor, now: float) -> dict[str, Any]:
    """What Ray takes for the last result of a trial that has not reported."""
    return {
        "trial_id": run.trial.trial_id,
        "date": _date(now),
        "timestamp": int(now),
        "pid": actor.worker,
        **_HOST,
        "config": run.trial.config,
    }


def _date(seconds: float) -> str:
    """A virtual time as Ray writes dates; the search begins with 1970."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d_%H-%M-%S")
