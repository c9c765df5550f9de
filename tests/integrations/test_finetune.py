"""The example that fine-tunes a language model: its pieces, and a whole search on Ray."""

from __future__ import annotations

import argparse
import importlib.util
import math
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray import tune

import raytuner

pytest.importorskip("peft", reason="peft is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

LENGTH = 16
CONFIG = {"lr": 1e-2, "rank": 4, "alpha": 16, "batch": 8, "warmup": 0.2}


@pytest.fixture(scope="module")
def example() -> Any:
    file = Path(__file__).parents[2] / "examples" / "finetune.py"
    spec = importlib.util.spec_from_file_location("example_finetune", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(**given: Any) -> argparse.Namespace:
    usual = {"model": None, "data": None, "tokens": 1, "length": LENGTH, "micro_batch": 4}
    return argparse.Namespace(**{**usual, "seed": 0, **given})


@pytest.fixture(scope="module")
def inputs(example: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model and data, for the smallest full training."""
    folder = tmp_path_factory.mktemp("inputs")
    torch.save(example.prepare(arguments(), folder), folder / "inputs.pt")
    return folder / "inputs.pt"


def trained(
    example: Any, config: dict[str, Any], folder: Path, checkpoint: Path | None = None
) -> list[dict[str, Any]]:
    """Run a trial, from a checkpoint if given; `folder` gets its own. Return its reports."""
    reports: list[dict[str, Any]] = []

    def report(metrics: dict[str, Any], checkpoint: tune.Checkpoint) -> None:
        shutil.copytree(checkpoint.path, folder / str(metrics["tokens"]))
        reports.append(metrics)

    given = None if checkpoint is None else tune.Checkpoint.from_directory(checkpoint)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(example.tune, "report", report)
        patch.setattr(example.tune, "get_checkpoint", lambda: given)
        example.train(config)
    return reports


def rows_and_model(example: Any, inputs: Path) -> tuple[Any, Any]:
    data = torch.load(inputs)
    return data["train"][:7], example.AutoModelForCausalLM.from_pretrained(data["model"])


def gradients(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("micro", [1, 3, 7])
def test_the_micro_batch_changes_neither_loss_nor_gradients(
    example: Any, inputs: Path, micro: int
) -> None:
    rows, model = rows_and_model(example, inputs)
    whole = model(input_ids=rows, labels=rows).loss  # as transformers computes it
    whole.backward()
    expected = gradients(model)
    model.zero_grad()
    assert example.in_memory(model, rows, micro) == (pytest.approx(whole.item(), rel=1e-5), micro)
    torch.testing.assert_close(gradients(model), expected, rtol=1e-4, atol=1e-6)


class Full:
    """A model whose memory holds two sequences, and runs out late in the step besides."""

    def __init__(self, model: Any, holds: int = 2) -> None:
        self.model, self.holds, self.sizes = model, holds, list[int]()
        self.zero_grad = model.zero_grad

    def __call__(self, input_ids: torch.Tensor) -> Any:
        self.sizes.append(len(input_ids))
        if len(input_ids) > self.holds or len(self.sizes) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.model(input_ids=input_ids)


def test_a_step_that_runs_out_of_memory_is_done_again_in_smaller_parts(
    example: Any, inputs: Path
) -> None:
    rows, model = rows_and_model(example, inputs)
    loss = example.mean_loss(model, rows, 7)
    expected = gradients(model)
    model.zero_grad()
    full = Full(model)
    assert example.in_memory(full, rows, 7) == (pytest.approx(loss, rel=1e-5), 1)
    # The second failure comes after one part, whose gradients must not count twice.
    assert full.sizes == [7, 4, 2, 2] + 7 * [1]
    torch.testing.assert_close(gradients(model), expected, rtol=1e-4, atol=1e-6)


def test_a_single_sequence_that_does_not_fit_is_an_error(example: Any, inputs: Path) -> None:
    rows, model = rows_and_model(example, inputs)
    with pytest.raises(torch.OutOfMemoryError):
        example.in_memory(Full(model, holds=0), rows, 7)


def test_the_rate_goes_up_and_then_down(example: Any) -> None:
    assert [example.rate(share, 0.2) for share in (0, 0.1, 0.2, 0.6, 1)] == [0, 0.5, 1, 0.5, 0]
    assert [example.rate(share, 0.0) for share in (0, 0.25, 1)] == [1, 0.75, 0]


def test_a_restored_trial_goes_on_at_its_tokens(example: Any, inputs: Path, tmp_path: Path) -> None:
    """And where it was in the data, with the same weights and the optimizer's state."""
    config = {**CONFIG, "inputs": str(inputs)}
    total = torch.load(inputs)["tokens"]
    part = total // example.REPORTS
    whole = trained(example, config, tmp_path / "whole")
    assert [row["tokens"] for row in whole] == list(range(part, total + 1, part))
    assert whole[-1]["loss"] < whole[0]["loss_before"] - 0.1
    rest = trained(example, config, tmp_path / "rest", tmp_path / "whole" / str(3 * part))
    assert [row["tokens"] for row in rest] == [row["tokens"] for row in whole[3:]]
    losses = [row["loss"] for row in whole[3:]]
    assert [row["loss"] for row in rest] == pytest.approx(losses, rel=1e-5)
    assert rest[0]["loss_before"] == pytest.approx(whole[0]["loss_before"], rel=1e-6)


def test_the_micro_batch_limits_the_memory_not_the_batch(
    example: Any, inputs: Path, tmp_path: Path
) -> None:
    data = torch.load(inputs)
    torch.save({**data, "micro_batch": 32}, tmp_path / "inputs.pt")
    config = {**CONFIG, "inputs": str(inputs)}
    small = trained(example, config, tmp_path / "small")
    large = trained(example, {**config, "inputs": str(tmp_path / "inputs.pt")}, tmp_path / "large")
    assert {row["micro_batch"] for row in small} == {4}
    assert {row["micro_batch"] for row in large} == {CONFIG["batch"]}
    assert small[-1]["loss"] == pytest.approx(large[-1]["loss"], rel=1e-3)


def test_another_model_with_its_own_tokens(
    example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder as `--model`, and a text file as `--data`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    words = example.corpus(dialect=2, words=5000)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(example.WORDS.split())}))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path / "llama")
    size = {"vocab_size": 32, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    config = LlamaConfig(**size, num_attention_heads=2, max_position_embeddings=LENGTH)
    example.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "llama")
    (tmp_path / "text.txt").write_text(words)

    monkeypatch.chdir(tmp_path)  # trials run in other folders
    found = example.prepare(arguments(model="llama", data="text.txt"), tmp_path)
    monkeypatch.chdir("/")
    assert len(found["train"]) + len(found["held"]) == 5000 // LENGTH  # a word is a token
    torch.save(found, tmp_path / "inputs.pt")
    config = {**CONFIG, "inputs": str(tmp_path / "inputs.pt")}
    reports = trained(example, config, tmp_path / "trial")
    assert reports[-1]["loss"] < reports[0]["loss_before"]
    weights = example.PeftModel.from_pretrained(
        example.AutoModelForCausalLM.from_pretrained(found["model"]),
        tmp_path / "trial" / str(found["tokens"]),
    ).state_dict()
    layers = {name.split(".")[-4] for name in weights if "lora_B" in name}
    assert layers >= {"q_proj", "v_proj", "down_proj"}


def test_bad_data_is_said_before_any_trial(
    example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SystemExit, match=r"nothing/here is no file.*install datasets"):
        example.read("nothing/here")
    (tmp_path / "short.txt").write_text("ant " * 39)
    monkeypatch.setattr(example, "small_model", lambda *_: None)
    with pytest.raises(SystemExit, match="the text has 9 sequences of 16 tokens"):
        example.prepare(arguments(data=str(tmp_path / "short.txt")), tmp_path)


@pytest.mark.parametrize("gpus", [{}, {"GPU": 1.0}])
def test_gpus_are_shared_by_the_memory_of_the_largest_trial(
    example: Any, gpus: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Seen(Exception):  # noqa: N818  not an error
        pass

    def search(*_: Any, **settings: Any) -> None:
        raise Seen(settings)

    cluster = SimpleNamespace(nodes=[SimpleNamespace(total={"CPU": 8.0, **gpus})])
    monkeypatch.setattr(raytuner, "check", lambda: SimpleNamespace(cluster=cluster))
    monkeypatch.setattr(raytuner, "tune", search)
    monkeypatch.setattr(example, "small_model", lambda *_: None)
    with pytest.raises(Seen) as seen:
        example.main(["--storage-path", str(tmp_path)])
    settings = seen.value.args[0]
    assert settings["resources"] == {"cpu": 1, **({"gpu": "fit"} if gpus else {})}
    first = settings["points_to_evaluate"][0]
    for name in ("rank", "batch"):  # what the memory depends on
        assert first[name] == max(example.SPACE[name].categories)


def test_a_search_on_ray(
    example: Any, ray_cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = ["--trials", "3", "--tokens", "20000", "--length", str(LENGTH), "--micro-batch", "8"]
    study = example.main([*numbers, "--storage-path", str(tmp_path)])
    assert not study.failures
    best = study.best
    before = best.value_of("loss_before")
    assert best.value < before - 0.3

    settings = study.history.get_meta("settings")
    total = 5 * 4096  # of eight reports, after whole steps of each batch size
    assert (settings["time_attr"], settings["max_t"]) == ("tokens", total)
    assert best.t == total
    for trial in study.trials:
        assert [t for t, _ in trial.values] == list(range(2560, int(trial.t) + 1, 2560))

    printed = capsys.readouterr().out
    assert f"before fine-tuning: {before:.3f}, perplexity {math.exp(before):.2f}" in printed
    assert f"after fine-tuning: {best.value:.3f}, perplexity {math.exp(best.value):.2f}" in printed
    adapter = Path(printed.splitlines()[-1].removeprefix("Adapter: "))
    assert not (adapter / "state.pt").exists()
    inputs = torch.load(best.config["inputs"])
    base = example.AutoModelForCausalLM.from_pretrained(inputs["model"])
    model = example.PeftModel.from_pretrained(base, adapter)
    loss, _ = example.held_out(model, inputs["held"], 8)
    assert loss == pytest.approx(best.value, rel=1e-4)
