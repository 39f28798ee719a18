//! The JSON of the contract: what `backtest --format json` prints and the HTTP API answers. The only
//! place that knows those field names; the types of the core are free to change behind it.
