"""Whole studies: run, load, resume, extend and confirm them."""
