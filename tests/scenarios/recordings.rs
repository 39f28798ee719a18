//! Stories as recordings, through the `headwater backtest` binary.
