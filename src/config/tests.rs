//! The resolved values; what users see of mistakes is in `tests/config`.
