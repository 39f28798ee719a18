//! The command line's side of the API, over a real socket.

use std::future::Future;

use url::Url;

use super::*;
use crate::{
    incident::{Familiar, Incident},
    serve::client::{self, Api},
};

/// Runs `asked` while the router is served on a socket.
async fn with_server<T>(served: &Served, asked: impl AsyncFnOnce(Api) -> T) -> T {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    let token = served.state.settings.events_token.clone();
    let api = Api::new(Url::parse(&base).unwrap(), token, http());
    let server: std::pin::Pin<Box<dyn Future<Output = _>>> =
        Box::pin(axum::serve(listener, router(served.state.clone())).into_future());
    tokio::select! {
        stopped = server => panic!("the server stopped: {stopped:?}"),
        result = asked(api) => result,
    }
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap()
}

#[tokio::test]
async fn the_client_lists_and_shows() {
    let served = Served::night().await;
    let (list, show, missing) = with_server(&served, async |api| {
        let list = client::list_text(&api.incidents().await.unwrap());
        let show = client::show_text(&api.incident(&story::night().id).await.unwrap());
        (list, show, api.incident("a/b ?").await.unwrap_err().to_string())
    })
    .await;
    expect![[r#"
        2019-09-23T22:14:00Z  open      critical  mass_unpin  20190923T221415-mass_pin
            461,234 devices unpinned in 1,500 applications
        2019-09-23T10:14:45Z  resolved  info      bulk_pin_by_owner  20190923T101500-bulk_pin_by_owner
            20,000 devices pinned by their owner
    "#]].assert_eq(&list);
    expect![[r#"
        461,234 devices unpinned in 1,500 applications
        critical, open since 2019-09-23T22:14:00Z (20190923T221415-mass_pin)

        CAUSE
          mass_pin: onset 2019-09-23T22:14:00Z, recognised 15 s later
          mass_unpin: onset 2019-09-23T22:16:00.250Z, recognised 14 s later
          461,234 devices in 1,500 applications of 60 organisations lost their pin since 22:16:00 (97 %)

        FIRST EFFECT
          delta_queue at 2019-09-23T22:17:30Z

        BLAST RADIUS
          devices: 461,234; applications: 1,500; organisations: 60
          pinned: 61,234 before the first onset, 0 at the latest sample
          pending updates: 1,001 before, 147,773 at the latest sample
          scooters (application 17): 30,120 devices, pinned 4,005 before, 0 now

        NEXT STEP
          stop updates before anything else
          restore the pins of 22:13:45, the last sample before the onset

        EVIDENCE
          migration device/0042-pin was running: 400,000 rows
          one UPDATE "device" SET "is pinned on-release" = $1 of role ops wrote 461,234 rows

        SYMPTOMS
          2019-09-23T22:17:30Z  delta_queue, 96 % explained

        TIMELINE
          2019-09-23T22:14:15Z  400,000 devices in 1,500 applications of 60 organisations were pinned since 22:14:00
          2019-09-23T22:16:15Z  461,234 devices in 1,500 applications of 60 organisations lost their pin since 22:16:00
          2019-09-23T22:17:45Z  delta_queue rose from 12 to 8,412: explained by pending_pairs

    "#]].assert_eq(&show);
    check_has(&missing, &["answers 404 Not Found: there is no incident \"a/b ?\""]);
}

#[tokio::test]
async fn the_client_accepts_with_its_token() {
    let mut served = Served::night().await.with_token();
    let (_, unused) = mpsc::channel(1);
    let mut commands = std::mem::replace(&mut served.commands, unused);
    let resolved = Some(at("22:18:00"));
    let accepted = Incident { resolved_at: resolved, accepted_at: resolved, ..story::night() };
    let answer = with_server(&served, async |api| {
        let id = story::night().id;
        let (answer, _) =
            tokio::join!(api.accept(&id), pipeline(&mut commands, Some(accepted.clone())));
        answer.unwrap()
    })
    .await;
    assert_eq!(answer, report::incident_detail_json(&accepted));
    check_has(
        &client::show_text(&answer),
        &["accepted as the new normal at 2019-09-23T22:18:00Z, after 4 min"],
    );
}

#[tokio::test]
async fn the_client_exports_what_the_store_exports() {
    let served = Served::night().await;
    let since = at("21:59:00");
    let remote = with_server(&served, async |api| {
        let mut text = Vec::new();
        api.export(since, &mut text).await.unwrap();
        text
    })
    .await;
    let mut local = Vec::new();
    client::export_store(&served.state.store, since, &mut local).await.unwrap();
    assert_eq!(remote, local);
    let text = String::from_utf8(local).unwrap();
    assert_eq!(text.lines().count(), 1 + 84, "the header, and 21 minutes at 15 s");
    check_has(&text, &["time,devices_pinned,pending_updates\n2019-09-23T21:59:00Z,61234,20412\n"]);
    check(
        &served.get("/api/v1/samples").await,
        400,
        &expect![[r#"{"error":"the parameter `since` is missing: write ?since=24h"}"#]],
    );
    let wrong = served.get("/api/v1/samples?since=soon").await;
    check_has(&wrong.body, &["is not a time"]);
}

#[tokio::test]
async fn the_client_says_where_nobody_answers() {
    // A port that was free a moment ago, and on which nobody listens.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let base = Url::parse(&format!("http://me:hunter2@{address}/")).unwrap();
    let error = Api::new(base, None, http()).incidents().await.unwrap_err();
    let text = format!("{error:#}");
    check_has(&text, &[&format!("cannot reach headwater at http://{address}/: is it running")]);
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn an_empty_list_says_so() {
    assert_eq!(client::list_text(&[]), "no incidents\n");
}

#[tokio::test]
async fn what_is_familiar_and_what_is_proposed_say_so() {
    let since = story::at("22:40:00");
    let incident = Incident {
        familiar: Some(Familiar::Rejected { incident: "7".to_owned(), at: since }),
        proposes_acceptance_since: Some(since),
        ..story::night()
    };
    let id = incident.id.clone();
    let served = Served::new(Batch { incidents: vec![incident], ..Batch::default() }).await;
    let (list, detail) = with_server(&served, async |api| {
        let list = client::list_text(&api.incidents().await.unwrap());
        (list, api.incident(&id).await.unwrap())
    })
    .await;
    assert!(
        list.contains("stays: proposed as the new normal since 2019-09-23T22:40:00Z"),
        "{list}"
    );
    assert_eq!(detail.familiar.as_deref(), Some("like incident 7, rejected 2019-09-23"));
    assert_eq!(detail.incident.proposes_acceptance_since.map(|at| at.0), Some(since));
    let show = client::show_text(&detail);
    assert!(show.contains("; nobody is notified: like incident 7, rejected 2019-09-23"), "{show}");
    assert!(show.contains("; proposed as the new normal since 2019-09-23T22:40:00Z"), "{show}");
    let page = served.get(&format!("/incidents/{id}")).await;
    for text in ["Nobody is notified: <bdi>like incident 7", "is proposed as the new normal since"]
    {
        assert!(page.body.contains(text), "{text}");
    }
}
