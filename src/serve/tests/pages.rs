//! Pages: what a person needs is there, in its place, whatever the fleet's names are.

use super::*;
use crate::incident::{Affected, Cause, Severity};

#[tokio::test]
async fn the_overview_says_what_is_wrong_and_since_when() {
    let served = Served::night().await;
    let answer = served.get("/").await;
    check_page(&answer, 200);
    check_has(
        &answer.body,
        &[
            "<h1><bdi>1 incident is open</bdi></h1>",
            "<a href=\"incidents/20190923T221415-mass_pin\">",
            "461,234 devices unpinned in 1,500 applications",
            "<strong>Open</strong> since <time datetime=\"2019-09-23T22:14:00Z\">",
            "(4 min)",
            "critical",
            "20,000 devices pinned by their owner",
            "<strong>silent</strong> since",
            "none yet",
        ],
    );
    let open = answer.body.find("devices unpinned").unwrap();
    assert!(open < answer.body.find("pinned by their owner").unwrap(), "what is open comes first");
}

#[tokio::test]
async fn the_overview_never_says_well_when_it_does_not_know() {
    let served = Served::new(Batch::default()).await;
    let headline = async |served: &Served| {
        let answer = served.get("/").await;
        check_page(&answer, 200);
        let (_, rest) = answer.body.split_once("<h1><bdi>").unwrap();
        rest.split_once("</bdi>").unwrap().0.to_owned()
    };
    assert_eq!(headline(&served).await, "No sample yet: nothing can be said");
    served.ready.send_replace(false);
    assert_eq!(headline(&served).await, "Headwater is starting");
    served.ready.send_replace(true);
    let mut standing = story::standing();
    standing.signals[1].at = Some(at("22:17:55"));
    served.standing.send_replace(standing.clone());
    assert_eq!(headline(&served).await, "All is well");
    standing.signals[1].at = Some(at("22:16:55"));
    served.standing.send_replace(standing);
    assert_eq!(headline(&served).await, "No incident is open, but 1 source is silent");
}

#[tokio::test]
async fn the_incident_page_has_what_a_person_needs() {
    let served = Served::night().await;
    let answer = served.get(&format!("/incidents/{}", story::night().id)).await;
    check_page(&answer, 200);
    let page = &answer.body;
    let places = ["CAUSE", "FIRST EFFECT", "BLAST RADIUS", "NEXT STEP", "Evidence", "Timeline"];
    let places = places.map(|place| page.find(&format!(">{place}</h2>")).expect(place));
    assert!(places.is_sorted(), "fixed places: {places:?}");
    check_has(
        page,
        &[
            "<code>mass_unpin</code>",
            "<code>mass_pin</code>",
            "recognised 15 s later with 98 %",
            "delta_queue</bdi></strong> went from 12 to 8,412",
            "3 min 30 s after the onset",
            "<strong>461,234</strong>",
            "61,234 before the first onset, 0 at the latest sample",
            "stop updates before anything else",
            "https://runbooks.example.org/headwater#mass_unpin",
            "headwater incidents accept 20190923T221415-mass_pin",
            "of role ops wrote 461,234 rows",
            "migration device/0042-pin was running",
            "8,731 new release pairs, each one delta",
            "scooters",
            "<svg ",
            "devices_pinned from 21:44 to 22:18 UTC: between 0 and 461,234, 0 at the end",
            "href=\"../signals\"",
        ],
    );
}

#[tokio::test]
async fn the_signals_page_shows_band_score_and_threshold() {
    let served = Served::night().await;
    let answer = served.get("/signals").await;
    check_page(&answer, 200);
    check_has(
        &answer.body,
        &[
            "devices_pinned",
            "461,234",
            "61,100 to 61,400",
            "37.36 changed",
            "21.75",
            "budget",
            "5,760",
            "no sample yet",
            "never",
            "In 60 days of watching: <strong>2 pages</strong>, 1 a month (",
            "<strong>7 warnings</strong> (1 rejected), 3.5 a month (1.407 to 7.211), of which the \
             budget allows 10 without an event",
            "in 90 days, 1 a month (0.206 to 2.922)",
            "budget 0.25",
        ],
    );
    let first = answer.body.find("devices_pinned").unwrap();
    assert!(first < answer.body.find("delta_queue").unwrap(), "the most conspicuous first");
}

#[tokio::test]
async fn missing_pages_are_pages() {
    let served = Served::night().await;
    let answer = served.get("/incidents/none").await;
    check_page(&answer, 404);
    check_has(&answer.body, &["there is no incident", "href=\"../\""]);
    let answer = served.get("/favicon.ico").await;
    check_page(&answer, 404);
}

fn hostile() -> Incident {
    let name = "<script>alert(\"1\")</script>'\u{202e}&amp;\u{0}";
    let mut incident = story::night();
    let record = &mut incident.causes[1];
    for text in [&mut record.title, &mut record.summary, &mut record.next_steps[0]] {
        *text = format!("{name} was unpinned");
    }
    record.evidence[0].text = name.repeat(10_000);
    record.blast_radius.most_affected = (0..10)
        .map(|application| Affected {
            application,
            name: name.to_owned(),
            devices: 1,
            pinned_before: 1,
            pinned_after: 0,
            counted: None,
        })
        .collect();
    incident.symptoms[0].signal = name.to_owned();
    for step in 0..5_000 {
        incident.note(
            at("22:20:00") + TimeDelta::seconds(step),
            "an application named ".to_owned() + name,
        );
    }
    incident
}

#[tokio::test]
async fn hostile_names_are_only_text() {
    let incidents = vec![hostile()];
    let served = Served::new(Batch { incidents, ..Batch::default() }).await;
    for path in ["/", "/incidents/20190923T221415-mass_pin", "/<script>alert(1)"] {
        let path = path.replace('<', "%3C").replace('>', "%3E");
        let answer = served.get(&path).await;
        check_page(&answer, if path.contains('%') { 404 } else { 200 });
        for harmful in ['\u{202e}', '\u{0}'] {
            assert!(!answer.body.contains(harmful), "{path}");
        }
        if !path.contains('%') {
            check_has(&answer.body, &["&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;"]);
        }
    }
    let text = crate::serve::client::show_text(&report::incident_detail_json(&hostile()));
    assert!(!text.contains(['\u{202e}', '\u{0}']), "a terminal is not reordered either");
}

#[tokio::test]
async fn a_long_night_stays_a_short_page() {
    let incidents = (0..150).map(|number| {
        let mut incident = story::night();
        incident.id = number.to_string();
        incident.causes[1].severity = [Severity::Warning, Severity::Critical][number % 2];
        incident.causes[1].cause = Cause::Unexplained;
        incident
    });
    let served = Served::new(Batch { incidents: incidents.collect(), ..Batch::default() }).await;
    let answer = served.get("/").await;
    check_page(&answer, 200);
    check_has(&answer.body, &["150 incidents are open", "… and 120 more open incidents"]);
}
