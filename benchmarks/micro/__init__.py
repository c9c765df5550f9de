"""Seconds a proposal, ours and Optuna's side by side.

python -m benchmarks.micro
"""
