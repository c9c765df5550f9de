"""Seconds and memory of a proposal, ours and Optuna's side by side, by pytest-benchmark.

python -m benchmarks.micro
"""
