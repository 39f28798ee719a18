//! Change events: what is taken, what is refused and why, and what is listed.

use super::*;

impl Served {
    async fn tell(&self, headers: &[(&str, &str)], body: &str) -> Answer {
        let json = [("content-type", "application/json")];
        self.ask(Method::POST, "/api/v1/events", &[&json, headers].concat(), body).await
    }
}

/// Answers one event as the pipeline's task would.
async fn pipeline(commands: &mut mpsc::Receiver<Command>, answer: Posted) -> ChangeEvent {
    let Command::Event { event, reply } = commands.recv().await.unwrap() else { panic!() };
    reply.send(answer).unwrap();
    event
}

const DEPLOY: &str =
    r#"{"at":"2019-09-23T22:13:18.1234Z","kind":"deploy","title":"api v38","source":"ci"}"#;
const MAINTENANCE: &str = r#"{"at":"2019-09-24T01:00:00Z","kind":"maintenance","title":"release 38","source":"ops","until":"2019-09-24T02:00:00Z","expects":{"cause":"mass_repin","devices_max":5000,"applications":[17,"scooters"]}}"#;

#[tokio::test]
async fn an_event_is_taken_once_and_listed() {
    let mut served = Served::night().await;
    let (_, unused) = mpsc::channel(1);
    let mut commands = std::mem::replace(&mut served.commands, unused);
    let mut events = Vec::new();
    for body in [DEPLOY, MAINTENANCE] {
        let taken = Posted::Taken(Vec::new());
        let (answer, event) = tokio::join!(served.tell(&[], body), pipeline(&mut commands, taken));
        assert_eq!(answer.status, 201, "{}", answer.body);
        let told = body.replace(".1234Z", ".123Z");
        assert_eq!(answer.body, told, "as it was taken: to the millisecond");
        events.push(event);
    }
    assert_eq!(events[0].announcement, None);
    let (expected, until) = events[1].expects().unwrap();
    assert_eq!((expected.devices_max, until), (5_000, at("22:00:00") + TimeDelta::hours(4)));
    served.state.store.commit(&Batch { events, ..Batch::default() }, None).await.unwrap();

    let again = served.tell(&[], DEPLOY).await;
    assert_eq!(again.status, 200, "the store knows it: {}", again.body);
    assert!(commands.try_recv().is_err(), "nothing reached the pipeline");
    let other = MAINTENANCE.replace("5000", "6000");
    let refused = Posted::Refused("with other bounds".to_owned());
    let (answer, _) = tokio::join!(served.tell(&[], &other), pipeline(&mut commands, refused));
    check(&answer, 409, &expect![[r#"{"error":"with other bounds"}"#]]);

    let listed = served.get("/api/v1/events").await;
    let deploy = DEPLOY.replace(".1234Z", ".123Z");
    assert_eq!(listed.body, format!("{{\"events\":[{MAINTENANCE},{deploy}]}}"), "newest first");
    let one = served.get("/api/v1/events?limit=1").await;
    assert_eq!(one.body, format!("{{\"events\":[{MAINTENANCE}]}}"));
    assert_eq!(served.get("/api/v1/events?limit=many").await.status, 400);
    drop(commands);
    let stopping = served.tell(&[], &DEPLOY.replace("v38", "v39")).await;
    assert_eq!(stopping.status, 503, "the pipeline has stopped");
}

#[tokio::test]
async fn without_a_time_it_is_now_and_who_may_tell_is_who_may_push() {
    let mut served = Served::night().await.with_token();
    let body = r#"{"kind":"deploy","title":"api v38","source":"ci"}"#;
    assert_eq!(served.tell(&[], body).await.status, 401);
    let bearer = format!("Bearer {TOKEN}");
    let mut headers = vec![("authorization", bearer.as_str()), ("sec-fetch-site", "cross-site")];
    assert_eq!(served.tell(&headers, body).await.status, 403);
    assert!(served.commands.try_recv().is_err(), "nothing reached the pipeline");
    headers.pop();
    let (_, unused) = mpsc::channel(1);
    let mut commands = std::mem::replace(&mut served.commands, unused);
    let (answer, event) =
        tokio::join!(served.tell(&headers, body), pipeline(&mut commands, Posted::Known));
    assert_eq!(answer.status, 200);
    assert!((event.at - at("22:18:00")).abs() < TimeDelta::seconds(1), "by our clock");
}

#[tokio::test]
async fn events_that_are_wrong_are_refused_with_the_reason() {
    let mut served = Served::night().await;
    let deploy =
        |more: &str| format!(r#"{{"kind":"deploy","title":"api v38","source":"ci"{more}}}"#);
    let planned = |more: &str| {
        format!(r#"{{"kind":"maintenance","title":"release 38","source":"ops"{more}}}"#)
    };
    let until = r#","until":"2019-09-23T23:00:00Z""#;
    let expects = |more: &str| planned(&format!(r#"{until},"expects":{{{more}}}"#));
    let long = "x".repeat(201);
    for (body, reason) in [
        (deploy(r#","colour":"red""#), "unknown field"),
        (deploy(r#","at":"2019-09-23T22:20:00Z""#), "is in the future"),
        (deploy(r#","at":"1969-12-31T23:59:59Z""#), "before 1970"),
        (deploy(until), "are for events of kind maintenance"),
        (deploy("").replace("api v38", "  "), "`title` is empty"),
        (deploy("").replace("api v38", &long), "`title` has 201 characters"),
        (deploy("").replace("\"ci\"", "\"c\\u0007i\""), "`source` has control characters"),
        (deploy("").replace("\"deploy\"", "\"headwater_start\""), "headwater's own word"),
        (deploy("").replace("\"source\"", "\"sauce\""), "unknown field"),
        (r#"{"kind":"deploy","title":"x"}"#.to_owned(), "missing field `source`"),
        (planned(r#","at":"2020-12-01T00:00:00Z""#), "more than a year ahead"),
        (planned(r#","until":"2019-09-23T22:00:00Z""#), "is not after `at`"),
        (planned(r#","until":"2019-10-03T22:00:00Z""#), "at most 7 days"),
        (planned(r#","expects":{"cause":"mass_pin","devices_max":1}"#), "needs `until`"),
        (expects(r#""cause":"mass_pin""#), "missing field `devices_max`"),
        (expects(r#""cause":"mass_pin","devices_max":-1"#), "invalid value"),
        (expects(r#""cause":"mass_hysteria","devices_max":1"#), "unknown variant"),
        (expects(r#""cause":"unexplained","devices_max":1"#), "cannot be announced"),
        (expects(r#""cause":"sampling_lost","devices_max":1"#), "cannot be announced"),
        (expects(r#""cause":"mass_pin","devices_max":1,"colour":1"#), "unknown field"),
        (expects(r#""cause":"mass_pin","devices_max":1,"applications":[]"#), "is empty"),
        (
            expects(r#""cause":"delta_failure","devices_max":1,"applications":[1]"#),
            "not known in which applications",
        ),
        ("{".to_owned(), "EOF"),
    ] {
        let answer = served.tell(&[], &body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert!(answer.body.contains(reason), "{body}: {}", answer.body);
    }
    assert!(served.commands.try_recv().is_err(), "nothing reached the pipeline");
}
