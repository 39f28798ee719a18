//! The one integration-test binary.

mod servers;
mod simulate;
