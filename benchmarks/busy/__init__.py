"""Measurements of idle slots and of the time in Ray's loop; see benchmarks/BUSY.md."""
