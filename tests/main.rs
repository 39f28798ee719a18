//! The one integration-test binary.

mod dashboards;
mod notify;
mod servers;
mod tidy;
