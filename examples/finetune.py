"""Fine-tune a language model with LoRA: one command, and tokens are the resource.

The search tunes the learning rate, the rank and alpha of LoRA, the batch size and the share of
warm-up on held-out loss. It stops trials early if they will probably not win. On GPUs, it starts as
many trials as the memory holds.

By default nothing is downloaded. The script trains a small GPT-2 on one synthetic dialect for some
seconds, and the search fine-tunes it on another. LoRA freezes the model, so it needs one that has
learnt something.

    python examples/finetune.py
    python examples/finetune.py --model gpt2 --data my.txt --length 512 --tokens 2000000
"""

import argparse
import math
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from ray import tune
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config

import raytuner
from raytuner.folders import DEFAULT_STORAGE

RANKS, BATCHES = [2, 4, 8, 16], [4, 8, 16, 32]
REPORTS = 8  # of a full training

SPACE: dict[str, Any] = {
    "lr": tune.loguniform(1e-4, 1e-1),
    "rank": tune.choice(RANKS),
    "alpha": tune.choice([4, 8, 16, 32, 64]),
    "batch": tune.choice(BATCHES),
    "warmup": tune.uniform(0.0, 0.3),
}
# raytuner measures the GPU memory of this configuration: no other takes more.
FIRST = {"lr": 1e-3, "rank": max(RANKS), "alpha": 32, "batch": max(BATCHES), "warmup": 0.1}

WORDS = "ant bee big bird cat cow day dog eats fish fox good man night old red sees sun the"


def corpus(dialect: int, words: int = 40_000) -> str:
    """Return text of a dialect, in which three words may follow each word."""
    chance, every = random.Random(dialect), WORDS.split()
    followers = {word: chance.sample(every, 3) for word in every}
    found = [every[0]]
    while len(found) < words:
        found.append(chance.choice(followers[found[-1]]))
    return " ".join(found)


def in_bytes(text: str) -> list[int]:
    """Return the tokens of the small model: the bytes of the text."""
    return list(text.encode())


def sequences(tokens: list[int], length: int) -> Tensor:
    """Return the tokens in rows of equal length, without the rest."""
    return torch.tensor(tokens[: len(tokens) // length * length]).reshape(-1, length)


def small_model(folder: Path, length: int, seed: int) -> None:
    """Train a small GPT-2 on dialect 0, on the CPU, and save it."""
    torch.manual_seed(seed)
    size = {"vocab_size": 256, "n_positions": length, "n_embd": 64, "n_layer": 2, "n_head": 4}
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    model = AutoModelForCausalLM.from_config(
        GPT2Config(**size, **dropout, bos_token_id=0, eos_token_id=0)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rows = sequences(in_bytes(corpus(dialect=0)), length)
    for _ in range(300):
        optimizer.zero_grad()
        mean_loss(model, rows[torch.randint(len(rows), (32,))], 32)
        optimizer.step()
    model.save_pretrained(folder)


def mean_loss(model: Any, rows: Tensor, micro: int) -> float:
    """Return the mean loss of a batch, computed for `micro` sequences at a time.

    Adds the gradients of the mean, unless they are disabled. They do not depend on `micro`.
    """
    total = 0.0
    for part in torch.split(rows, micro):
        scores = model(input_ids=part).logits[:, :-1].flatten(0, 1).float()
        loss = nn.functional.cross_entropy(scores, part[:, 1:].flatten()) * len(part) / len(rows)
        if torch.is_grad_enabled():
            torch.autograd.backward(loss)
        total += loss.item()
    return total


def in_memory(model: Any, rows: Tensor, micro: int) -> tuple[float, int]:
    """Return the mean loss, and the micro batch: halved until it fits into the GPU's memory."""
    while True:
        try:
            return mean_loss(model, rows, micro), micro
        except torch.OutOfMemoryError:
            if micro == 1:
                raise  # raytuner then gives the trial a whole GPU
        # Not inside `except`: until its end, the error holds the memory of the failed step.
        model.zero_grad()
        torch.cuda.empty_cache()
        micro = math.ceil(micro / 2)


def held_out(model: Any, rows: Tensor, micro: int) -> tuple[float, int]:
    """Return the mean loss of held-out text, and the micro batch."""
    model.eval()
    with torch.no_grad():
        return in_memory(model, rows, micro)


def rate(share: float, warmup: float) -> float:
    """Return the factor of the learning rate: it rises to 1 in the warm-up, then falls to 0."""
    return share / warmup if share < warmup else (1 - share) / (1 - warmup)


def start(config: dict[str, Any], name: str, device: str) -> tuple[Any, Any, int]:
    """Return model, optimizer and tokens so far: of the trial's checkpoint, or new ones."""
    base = AutoModelForCausalLM.from_pretrained(name)
    state: dict[str, Any] = {"tokens": 0}
    if (checkpoint := tune.get_checkpoint()) is None:
        lora = LoraConfig(
            task_type="CAUSAL_LM",
            r=config["rank"],
            lora_alpha=config["alpha"],
            target_modules="all-linear",  # in GPT-2: c_attn, c_proj and c_fc
            fan_in_fan_out=base.config.model_type == "gpt2",  # whose weights are transposed
        )
        model = get_peft_model(base, lora)
    else:
        with checkpoint.as_directory() as folder:
            model = PeftModel.from_pretrained(base, folder, is_trainable=True)
            state = torch.load(Path(folder) / "state.pt", map_location=device)
    model.to(device)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    if "optimizer" in state:
        optimizer.load_state_dict(state["optimizer"])
    return model, optimizer, state["tokens"]


def train(config: dict[str, Any]) -> None:
    """Train an adapter. Report loss, tokens and a checkpoint eight times."""
    inputs = torch.load(config["inputs"])
    torch.set_num_threads(1)
    torch.manual_seed(inputs["seed"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows, held, total = inputs["train"], inputs["held"].to(device), inputs["tokens"]
    model, optimizer, tokens = start(config, inputs["model"], device)
    batch, length = config["batch"], rows.shape[1]
    micro = min(batch, inputs["micro_batch"])
    with model.disable_adapter():
        before, micro = held_out(model, held, micro)
    # The order of all epochs. The tokens so far say where the training is in it.
    random_order = torch.Generator().manual_seed(inputs["seed"])
    epochs = math.ceil(total / rows.numel())
    order = torch.cat([torch.randperm(len(rows), generator=random_order) for _ in range(epochs)])
    while tokens < total:
        model.train()
        for _ in range(total // REPORTS // (batch * length)):
            share = (tokens + batch * length / 2) / total
            optimizer.param_groups[0]["lr"] = config["lr"] * rate(share, config["warmup"])
            optimizer.zero_grad()
            chosen = order[tokens // length :][:batch]
            _, micro = in_memory(model, rows[chosen].to(device), micro)
            optimizer.step()
            tokens += batch * length
        loss, micro = held_out(model, held, micro)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            state = {"optimizer": optimizer.state_dict(), "tokens": tokens}
            torch.save(state, Path(folder) / "state.pt")
            tune.report(
                {"loss": loss, "tokens": tokens, "loss_before": before, "micro_batch": micro},
                checkpoint=tune.Checkpoint.from_directory(folder),
            )


def read(name: str | None) -> str:
    """Return the text of a file or of a data set on the hub; by default that of dialect 1."""
    if name is None:
        return corpus(dialect=1)
    if Path(name).is_file():
        return Path(name).read_text(encoding="utf-8")
    try:
        from datasets import load_dataset
    except ImportError:
        raise SystemExit(
            f"{name} is no file. For a data set on the hub, install datasets"
        ) from None
    return "\n".join(load_dataset(name, split="train")["text"])


def prepare(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return what all trials have in common. Trains the small model if there is no other."""
    text, model, encode = read(args.data), args.model, in_bytes
    if model is None:
        model = str(folder / "model")
        small_model(folder / "model", args.length, args.seed)
    else:
        model = str(Path(model).resolve()) if Path(model).exists() else model
        encode = AutoTokenizer.from_pretrained(model).encode
    rows = sequences(encode(text), args.length)
    held = min(len(rows) // 10, 64)
    if held == 0:
        raise SystemExit(
            f"the text has {len(rows)} sequences of {args.length} tokens, and needs at least 10;"
            " give a longer text or a smaller --length"
        )
    # All batch sizes report after the same numbers of tokens.
    unit = REPORTS * args.length * math.lcm(*BATCHES)
    return {
        "model": model,
        "train": rows[:-held],
        "held": rows[-held:],
        "tokens": math.ceil(args.tokens / unit) * unit,
        "micro_batch": args.micro_batch,
        "seed": args.seed,
    }


def main(arguments: list[str] | None = None) -> raytuner.Study:
    """Search, and print the best configuration, its held-out loss and where its adapter is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="folder or name on the hub; default: a small GPT-2")
    parser.add_argument("--data", help="text file or name on the hub; default: synthetic text")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=131_072, help="of a full training")
    parser.add_argument("--length", type=int, default=64, help="tokens of a sequence")
    text = "most sequences at a time; halved if a GPU's memory is full"
    parser.add_argument("--micro-batch", type=int, default=max(BATCHES), help=text)
    parser.add_argument("--storage-path", type=Path, default=DEFAULT_STORAGE)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    storage = args.storage_path.expanduser().resolve()
    storage.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="finetune_inputs_", dir=storage))
    inputs = prepare(args, folder)
    torch.save(inputs, folder / "inputs.pt")
    has_gpu = any("GPU" in node.total for node in raytuner.check().cluster.nodes)
    study = raytuner.tune(
        train,
        {**SPACE, "inputs": str(folder / "inputs.pt")},
        metric="loss",
        mode="min",
        num_samples=args.trials,
        max_t=inputs["tokens"],
        grace_period=inputs["tokens"] // REPORTS,
        time_attr="tokens",
        resources={"cpu": 1, "gpu": "fit"} if has_gpu else {"cpu": 1},
        points_to_evaluate=[FIRST],
        reuse_actors=True,
        storage_path=storage,
        seed=args.seed,
    )
    best, results = study.best, Path(str(study.path))
    last = max(results.glob(f"*{best.trial_id}*/checkpoint_*"))
    shutil.copytree(last, results / "adapter", ignore=shutil.ignore_patterns("state.pt"))
    print("Best:", ", ".join(f"{name} {best.config[name]:.3g}" for name in SPACE))
    for when, loss in (("before", best.value_of("loss_before")), ("after", best.value)):
        print(f"Held-out loss {when} fine-tuning: {loss:.3f}, perplexity {math.exp(loss):.2f}")
    print("Adapter:", results / "adapter")
    return study


if __name__ == "__main__":
    main()
