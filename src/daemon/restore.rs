//! The start: what the store remembers becomes the pipeline, and what nobody can follow any more is
//! settled.

use std::collections::BTreeMap;

use anyhow::Result;
use tracing::{error, info, warn};

use crate::{
    config::Config,
    incident::Incident,
    pipeline::{Pipeline, State},
    series::Time,
    store::{Batch, Store, Stored},
};

/// Change events that a cold pipeline is told again: as many as it keeps, and what it learned of
/// their frequency from them.
const EVENTS_MAX: u32 = 1_000;

/// What the timeline of an incident says whose end cannot be seen any more.
const SETTLED: &str = "Closed without being over: Headwater started without what it knew of this \
                       incident, so it cannot see its end. Look at the fleet itself.";

/// The pipeline as it was at the last commit; a cold one where the store has no state for this
/// version. An incident that is open in the store, but not in the pipeline, would stay open for
/// ever: it is closed, and its timeline says why. Fails only if the store cannot be read or
/// written.
pub(super) async fn restore(store: &Store, config: &Config, now: Time) -> Result<Pipeline> {
    let state = match store.load_state().await? {
        Stored::State(restored) => {
            if !restored.unlearned.is_empty() {
                warn!(
                    signals = restored.unlearned.join(", "),
                    "what these had learned cannot be taken on: they begin anew"
                );
            }
            Some(restored.state)
        }
        Stored::Nothing => None,
        Stored::OtherVersion { stored, known } => {
            warn!(
                stored,
                known,
                "the detector state is of another version of headwater: detection starts cold"
            );
            None
        }
        Stored::Damaged(reason) => {
            error!("{reason:#}: detection starts cold");
            None
        }
    };
    if state.is_some() {
        info!("goes on from the stored detector state");
    }
    let settings = config.pipeline_settings();
    let is_cold = state.is_none();
    let mut pipeline = Pipeline::new(settings, state.unwrap_or_else(State::default));
    if is_cold {
        // What was announced holds, whatever else is forgotten.
        for event in store.events(EVENTS_MAX).await?.into_iter().rev() {
            pipeline.post(&event, now);
        }
    }
    let sources = config.sources.iter();
    let given: BTreeMap<&str, Vec<&str>> =
        sources.map(|source| (source.name.as_str(), source.signal_names())).collect();
    pipeline.retain_signals(|source, signal| {
        given.get(source).is_some_and(|signals| signals.contains(&signal))
    });
    settle(store, &pipeline, now).await?;
    Ok(pipeline)
}

async fn settle(store: &Store, pipeline: &Pipeline, now: Time) -> Result<()> {
    let followed = pipeline.incidents();
    let stored = store.active_incidents(now).await?.into_iter();
    let left = stored.filter(|incident| {
        incident.is_open() && followed.iter().all(|known| known.id != incident.id)
    });
    let incidents: Vec<Incident> = left.map(|incident| settled(incident, now)).collect();
    for Incident { id, .. } in &incidents {
        warn!(incident = id, "closed: it was open in the store, and nothing is known of it");
    }
    if incidents.is_empty() {
        return Ok(());
    }
    store.commit(&Batch { incidents, ..Batch::default() }, None).await
}

fn settled(mut incident: Incident, now: Time) -> Incident {
    incident.resolved_at = Some(now);
    incident.note(now, SETTLED);
    incident
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::story;

    #[test]
    fn a_settled_incident_says_that_it_may_not_be_over() {
        let now = story::at("23:00:00");
        let before = story::night();
        let after = settled(before.clone(), now);
        assert_eq!(after.resolved_at, Some(now));
        let (last, rest) = after.timeline.split_last().unwrap();
        assert_eq!(rest, before.timeline);
        assert!(last.text.contains("without being over") && last.at == now, "{last:?}");
    }
}
