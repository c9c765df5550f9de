"""Many trials: the driver's memory, and the seconds of a decision, as they add up."""
