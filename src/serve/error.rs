//! What can go wrong with a request, and how that is said over HTTP. Internal errors go to the log
//! in full and to the client in a word: their texts name files and hosts.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::report::ErrorJson;

/// Why a request is not answered as asked. The texts are for people.
#[derive(Debug)]
pub(super) enum Problem {
    /// The request cannot be understood.
    BadRequest(String),
    /// The bearer token is missing or wrong.
    Unauthorized,
    /// A browser sent it on behalf of another site.
    CrossSite,
    /// There is no such thing.
    NotFound(String),
    /// The path exists, for other methods.
    WrongMethod(String),
    /// The thing is not in the state for it.
    Conflict(String),
    /// Not now.
    Unavailable(String),
    /// Our fault, or the store's.
    Internal(anyhow::Error),
}

impl Problem {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Problem::BadRequest(_) => StatusCode::BAD_REQUEST,
            Problem::Unauthorized => StatusCode::UNAUTHORIZED,
            Problem::CrossSite => StatusCode::FORBIDDEN,
            Problem::NotFound(_) => StatusCode::NOT_FOUND,
            Problem::WrongMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Problem::Conflict(_) => StatusCode::CONFLICT,
            Problem::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Problem::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the client is told.
    pub(super) fn message(&self) -> &str {
        match self {
            Problem::BadRequest(message)
            | Problem::NotFound(message)
            | Problem::WrongMethod(message)
            | Problem::Conflict(message)
            | Problem::Unavailable(message) => message,
            Problem::Unauthorized => {
                "send the configuration's events_token as `Authorization: Bearer …`"
            }
            Problem::CrossSite => "requests from pages of other sites are refused",
            Problem::Internal(_) => "internal error: headwater's log says more",
        }
    }

    /// Says in the log what the client is not told. Called once, where the problem ends.
    pub(super) fn log(&self) {
        if let Problem::Internal(error) = self {
            tracing::error!(error = format!("{error:#}"), "a request failed");
        }
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Problem {
        Problem::Internal(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.log();
        let body = Json(ErrorJson { error: self.message().to_owned() });
        let mut response = (self.status(), body).into_response();
        if matches!(self, Problem::Unauthorized) {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}
