"""A Ray Tune script with two changed lines: `search_alg` and `scheduler`."""

from ray import tune

from raytuner import ASHAScheduler, BoTorchSearch


def train(config: dict[str, float]) -> None:
    """Stand in for a training: the loss falls at each step, and depends on both values."""
    for step in range(1, 28):
        tune.report({"loss": (config["lr"] - 0.01) ** 2 + config["momentum"] / step})


def main() -> None:
    """Search, and print the best configuration."""
    tuner = tune.Tuner(
        train,
        param_space={"lr": tune.loguniform(1e-4, 1e-1), "momentum": tune.uniform(0.0, 0.99)},
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=20,
            search_alg=BoTorchSearch(),
            scheduler=ASHAScheduler(max_t=27, reduction_factor=3),
        ),
    )
    best = tuner.fit().get_best_result()
    print(best.config, best.metrics)


if __name__ == "__main__":
    main()
