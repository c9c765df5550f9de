"""Do slots wait for the searcher, and does Ray's loop? See benchmarks/BUSY.md."""
