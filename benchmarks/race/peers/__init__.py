"""The peers, one module for each way in; each imports its peer only when it is made."""
