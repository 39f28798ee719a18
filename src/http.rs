//! How every HTTP client of the daemon is built: one place for TLS, timeouts and names. Knows
//! nothing of what is asked over it.

use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::redirect;

/// Connections that stay open to one host between two requests.
const IDLE_CONNECTIONS_MAX: usize = 1;

/// More redirects than a load balancer needs.
const REDIRECTS_MAX: usize = 3;

/// A client whose requests end after `timeout`, body included, unless a request says otherwise.
pub fn client(timeout: Duration) -> Result<reqwest::Client> {
    build(timeout, || redirect::Policy::limited(REDIRECTS_MAX))
}

/// The same for who delivers something: it follows no redirect. One would turn a POST into a GET,
/// whose success would look like a delivery.
pub fn client_without_redirects(timeout: Duration) -> Result<reqwest::Client> {
    build(timeout, redirect::Policy::none)
}

fn build(timeout: Duration, redirects: fn() -> redirect::Policy) -> Result<reqwest::Client> {
    // Whoever comes second finds a provider installed, which is as good as ours.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // A machine without certificates (a bare container) can still speak plain HTTP, and hears of an
    // unknown issuer when it speaks HTTPS.
    let with_roots = builder(timeout, redirects()).build();
    with_roots
        .or_else(|_| builder(timeout, redirects()).tls_certs_only(Vec::new()).build())
        .context("cannot build an HTTP client")
}

fn builder(timeout: Duration, redirects: redirect::Policy) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("headwater/", env!("CARGO_PKG_VERSION")))
        .redirect(redirects)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .connect_timeout(timeout)
        .timeout(timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_be_built_more_than_once() {
        client(Duration::from_secs(1)).unwrap();
        client(Duration::from_secs(2)).unwrap();
    }
}
