"""Ray Tune searchers: adapters between Ray's hooks, the record and a proposer."""
