//! The other end of the API: what the commands `incidents` and `export` ask of a running daemon,
//! and how its answers read in a terminal. Text that came from the fleet has its control characters
//! removed.

use std::{
    fmt::Write as _,
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use chrono::TimeDelta;
use reqwest::{Method, Response};
use serde::de::DeserializeOwned;
use url::Url;

use super::words;
use crate::{
    cli::{self, ExportOptions, IncidentsAction, IncidentsOptions},
    config::{Config, Secret},
    http,
    report::{
        self, ErrorJson, IncidentDetailJson, IncidentJson, IncidentsJson, Instant, time_text,
    },
    series::Time,
    store::Store,
};

/// An export of months takes its time; a daemon that stalls for longer is given up.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// How long the daemon may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// `headwater incidents`.
pub async fn incidents_command(options: &IncidentsOptions) -> Result<()> {
    let token = options.daemon.token.clone().map(Secret::new);
    let api = Api::new(options.daemon.url.clone(), token, http::client(ANSWER_TIMEOUT)?);
    let text = match &options.action {
        None | Some(IncidentsAction::List) => list_text(&api.incidents().await?),
        Some(IncidentsAction::Show(which)) => show_text(&api.incident(&which.id).await?),
        Some(IncidentsAction::Accept(which)) => show_text(&api.accept(&which.id).await?),
        Some(IncidentsAction::Reject(which)) => show_text(&api.reject(&which.id).await?),
    };
    let result = io::stdout().write_all(text.as_bytes());
    cli::written(result).map(|_| ()).context("cannot write the answer")
}

/// `headwater export`.
pub async fn export_command(
    options: &ExportOptions,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<()> {
    let mut output = std::io::stdout();
    let Some(path) = &options.config else {
        let api = Api::new(options.url.clone(), None, http::client(ANSWER_TIMEOUT)?);
        return api.export(options.since, &mut output).await;
    };
    let config = Config::load(path, environment)?;
    let store = Store::open_to_read(&config.store).await?;
    export_store(&store, options.since, &mut output).await
}

/// A running daemon.
#[derive(Clone, Debug)]
pub struct Api {
    base: Url,
    token: Option<Secret>,
    http: reqwest::Client,
}

impl Api {
    /// The daemon at `base`. `token` is the configuration's `events_token`; `accept` and `reject`
    /// need it if there is one.
    pub fn new(base: Url, token: Option<Secret>, http: reqwest::Client) -> Api {
        Api { base, token, http }
    }

    /// The newest incidents.
    pub async fn incidents(&self) -> Result<Vec<IncidentJson>> {
        let incidents: IncidentsJson = self.json(Method::GET, &["incidents"]).await?;
        Ok(incidents.incidents)
    }

    /// Everything about one incident.
    pub async fn incident(&self, id: &str) -> Result<IncidentDetailJson> {
        self.json(Method::GET, &["incidents", id]).await
    }

    /// Calls the present state the new normal.
    pub async fn accept(&self, id: &str) -> Result<IncidentDetailJson> {
        self.json(Method::POST, &["incidents", id, "accept"]).await
    }

    /// Calls the diagnosis wrong.
    pub async fn reject(&self, id: &str) -> Result<IncidentDetailJson> {
        self.json(Method::POST, &["incidents", id, "reject"]).await
    }

    /// Writes what was recorded at `since` or later as a recording.
    pub async fn export(&self, since: Time, out: &mut impl Write) -> Result<()> {
        let mut url = self.address(&["samples"])?;
        url.query_pairs_mut().append_pair("since", &time_text(since));
        let mut response = self.send(self.http.get(url).timeout(EXPORT_TIMEOUT)).await?;
        while let Some(piece) =
            response.chunk().await.context("the export ended early: headwater's log says why")?
        {
            if !write_piece(out, &piece)? {
                break;
            }
        }
        Ok(())
    }

    async fn json<T: DeserializeOwned>(&self, method: Method, path: &[&str]) -> Result<T> {
        let mut request = self.http.request(method, self.address(path)?);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let response = self.send(request).await?;
        let read = response.json().await;
        read.map_err(reqwest::Error::without_url).with_context(|| {
            format!("the answer of {} is not headwater's: check the URL", self.shown_base())
        })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(reqwest::Error::without_url);
        let response = response.with_context(|| {
            let base = self.shown_base();
            format!(
                "cannot reach headwater at {base}: is it running there? --url names another place"
            )
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let base = self.shown_base();
        match response.json::<ErrorJson>().await {
            Ok(problem) => bail!("headwater at {base} answers {status}: {}", problem.error),
            Err(_) => bail!("{base} answers {status}, and not as headwater does: check the URL"),
        }
    }

    fn address(&self, path: &[&str]) -> Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow!("{} is not the URL of a server", self.base.scheme()))?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        Ok(url)
    }

    /// The base without what may be secret in it.
    fn shown_base(&self) -> String {
        format!("{}/", self.base.origin().ascii_serialization())
    }
}

/// Writes what a store recorded at `since` or later as a recording.
pub async fn export_store(store: &Store, since: Time, out: &mut impl Write) -> Result<()> {
    let mut export = store.export(since).await?;
    while let Some(piece) = export.next_piece().await? {
        if !write_piece(out, &piece)? {
            break;
        }
    }
    Ok(())
}

/// False if nobody reads any more, as after `| head`.
fn write_piece(out: &mut impl Write, piece: &[u8]) -> Result<bool> {
    let result = out.write_all(piece).and_then(|()| out.flush());
    cli::written(result).context("cannot write the recording")
}

/// `headwater incidents list`: one paragraph an incident, newest first.
pub fn list_text(incidents: &[IncidentJson]) -> String {
    let mut text = String::new();
    if incidents.is_empty() {
        text.push_str("no incidents\n");
    }
    for incident in incidents {
        let state = if incident.resolved_at.is_some() { "resolved" } else { "open" };
        let _ = writeln!(
            text,
            "{}  {state:8}  {:8}  {}  {}\n    {}",
            time_text(incident.onset.0),
            incident.severity.label(),
            incident.cause,
            words::visible(&incident.id),
            words::visible(&incident.title),
        );
        if let Some(since) = incident.proposes_acceptance_since {
            let since = time_text(since.0);
            let _ = writeln!(text, "    stays: proposed as the new normal since {since}");
        }
    }
    text
}

/// `headwater incidents show ID`: everything, in the order of the page.
pub fn show_text(detail: &IncidentDetailJson) -> String {
    let incident = &detail.incident;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}\n{}\n", words::visible(&incident.title), state_text(detail));
    section(&mut text, "CAUSE", causes_text(incident));
    let first = incident.symptoms.iter().min_by_key(|symptom| symptom.onset.0);
    let effect = first.map(|symptom| {
        format!("{} at {}", words::visible(&symptom.signal), time_text(symptom.onset.0))
    });
    section(&mut text, "FIRST EFFECT", effect.or(Some("none yet".to_owned())));
    section(&mut text, "BLAST RADIUS", blast_radius_text(detail));
    section(&mut text, "NEXT STEP", detail.next_steps.iter().map(|step| words::visible(step)));
    let evidence = detail.evidence.iter();
    section(&mut text, "EVIDENCE", evidence.map(|fact| words::visible(&fact.text)));
    let symptoms = incident.symptoms.iter().map(|symptom| {
        let explained = words::percent(symptom.explained.0);
        let (signal, onset) = (words::visible(&symptom.signal), time_text(symptom.onset.0));
        format!("{onset}  {signal}, {explained} explained")
    });
    section(&mut text, "SYMPTOMS", symptoms);
    let timeline = detail.timeline.iter();
    let timeline =
        timeline.map(|entry| format!("{}  {}", time_text(entry.at.0), words::visible(&entry.text)));
    section(&mut text, "TIMELINE", timeline);
    text
}

fn section(text: &mut String, title: &str, lines: impl IntoIterator<Item = String>) {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "{title}");
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
    text.push('\n');
}

fn state_text(detail: &IncidentDetailJson) -> String {
    let incident = &detail.incident;
    let onset = incident.onset.0;
    let after = |at: Instant| format!("{}, after {}", time_text(at.0), words::span(at.0 - onset));
    let mut state = match (incident.resolved_at, detail.accepted_at) {
        (None, _) => format!("open since {}", time_text(onset)),
        (Some(at), None) => format!("resolved at {}", after(at)),
        (Some(at), Some(_)) => format!("accepted as the new normal at {}", after(at)),
    };
    if detail.rejected_at.is_some() {
        state.push_str("; the diagnosis was called wrong");
    }
    if let Some(familiar) = &detail.familiar {
        let _ = write!(state, "; nobody is notified: {}", words::visible(familiar));
    }
    if let Some(since) = incident.proposes_acceptance_since {
        let _ = write!(state, "; proposed as the new normal since {}", time_text(since.0));
    }
    format!("{}, {} ({})", incident.severity, state, words::visible(&incident.id))
}

fn causes_text(incident: &IncidentJson) -> Vec<String> {
    let causes = incident.causes.iter().map(|cause| {
        let delay: TimeDelta = cause.detected_at.0 - cause.onset.0;
        let onset = time_text(cause.onset.0);
        format!("{}: onset {onset}, recognised {} later", cause.cause, words::span(delay))
    });
    let mut lines: Vec<_> = causes.collect();
    let probability = words::percent(incident.probability.0);
    lines.push(format!("{} ({probability})", words::visible(&incident.summary)));
    lines
}

fn blast_radius_text(detail: &IncidentDetailJson) -> Vec<String> {
    let radius: &report::BlastRadiusJson = &detail.blast_radius;
    let known = words::count_if_known;
    let mut lines = vec![
        format!(
            "devices: {}; applications: {}; organisations: {}",
            words::count(radius.devices),
            known(radius.applications),
            known(radius.organizations)
        ),
        match radius.counted {
            Some(counted) => format!(
                "{}: {} before the first onset, {} at the latest sample",
                counted.quantity.noun(),
                known(counted.before),
                known(counted.after)
            ),
            None => format!(
                "pinned: {} before the first onset, {} at the latest sample",
                known(radius.pinned_before),
                known(radius.pinned_after)
            ),
        },
        format!(
            "pending updates: {} before, {} at the latest sample",
            known(radius.pending_before),
            known(radius.pending_after)
        ),
    ];
    if let Some(pending) = &radius.pending_if_unpinned {
        let (devices, pairs) = (words::count(pending.devices), words::count(pending.pairs));
        lines.push(format!(
            "if all pins were cleared now, {devices} devices would start an update over {pairs} \
             release pairs"
        ));
    }
    for affected in &radius.most_affected {
        let (noun, before, after) = match affected.counted {
            Some(counted) => (counted.quantity.noun(), known(counted.before), known(counted.after)),
            None => {
                let pinned = (affected.pinned_before, affected.pinned_after);
                ("pinned", words::count(pinned.0), words::count(pinned.1))
            }
        };
        lines.push(format!(
            "{} (application {}): {} devices, {noun} {before} before, {after} now",
            words::visible(&affected.name),
            affected.application,
            words::count(affected.devices),
        ));
    }
    lines
}
