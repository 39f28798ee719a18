//! The one way to make an HTTP client: TLS without C code, a timeout over the whole exchange, no
//! redirects. What is asked of whom belongs to the callers.

use std::time::Duration;

use anyhow::Context;

/// A client whose every request, with its answer's body, ends within `timeout`. It follows no
/// redirect: one would turn a POST into a GET, and would carry credentials to another host.
pub fn client(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    // Only the first call in a process installs the provider; that the later ones find one is no
    // error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("headwater/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("could not set up an HTTP client")
}
