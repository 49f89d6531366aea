"""What every training run has, whatever it trains: a state on disk that goes on exactly, metrics, a curve, progress."""
