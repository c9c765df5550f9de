"""Faults on purpose: what a study loses when a process, a node, a disk or a clock fails."""
