"""Reports of a study: text, plots, the model behind them, and a self-contained page."""
