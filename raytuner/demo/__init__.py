"""The demo: a real network on real data, tuned in about two minutes (`raytuner demo`)."""
