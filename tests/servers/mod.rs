//! Throwaway servers for the tests: real ones, on free ports, gone when the test ends. What a test
//! asks of them is in the test's own module.

pub(crate) mod alertmanager;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod prometheus;
