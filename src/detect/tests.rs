//! Placeholder while the module compiles.
