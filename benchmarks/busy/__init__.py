"""Whether slots wait for the searcher, and hooks hold Ray's loop; see benchmarks/BUSY.md."""
