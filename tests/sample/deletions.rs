//! A deletion over the whole platform on a real PostgreSQL, from the statement to the page.

use headwater::{
    incident::{Cause, Incident},
    pipeline::{Pipeline, Settings as PipelineSettings, State},
    sample::{GRANTS, Source},
    simulate::{Settings, acts::Act, database::FleetDatabase, fleet::Fleet},
};

use super::{assert_contains, at, fleet};
use crate::servers::postgres::Postgres;

/// A fleet in a database, and a daemon's view of it.
struct Watched {
    server: Postgres,
    fleet: Fleet,
    source: Source,
    pipeline: Pipeline,
    second: i64,
}

impl Watched {
    async fn start() -> Option<Watched> {
        let server = Postgres::start(&[])?;
        let database = server.create_database("fleet");
        let fleet_rows = Fleet::generate(&Settings::new(21, 5_000, 100, 30));
        let url = server.url("postgres", database);
        let mut filled = FleetDatabase::create(&url).await.expect("an empty database");
        filled.fill(&fleet_rows, at(0)).await.expect("tables can be filled");
        filled.close().await.expect("a connection can be closed");
        server.psql("CREATE ROLE headwater LOGIN; CREATE ROLE ops LOGIN");
        let grants = r#"GRANT SELECT, UPDATE, DELETE ON "device", "application" TO ops"#;
        server.psql_in(database, &format!("{GRANTS}{grants}"));
        let settings = PipelineSettings {
            interval_s: 15.0,
            false_pages_per_month: 1.0,
            false_warnings_per_month: 10.0,
            signals: std::collections::BTreeMap::new(),
            graph: headwater::config::graph::open_balena(),
            plain_ids: true,
        };
        let source = fleet(&server.url("headwater", database));
        let pipeline = Pipeline::new(settings, State::default());
        Some(Watched { server, fleet: fleet_rows, source, pipeline, second: 0 })
    }

    async fn sample(&mut self) -> Vec<Incident> {
        let observation = self.source.sample(at(self.second)).await;
        self.second += 15;
        self.pipeline.step(&observation).incidents
    }

    fn by_ops(&self, statement: &str) {
        self.server.psql_in("fleet", &format!("SET ROLE ops; {statement}"));
    }
}

#[tokio::test]
async fn a_deletion_over_the_platform_is_named_with_its_statement() {
    let Some(mut watched) = Watched::start().await else { return };
    for _ in 0..3 {
        assert_eq!(watched.sample().await, []);
    }
    let keep = r#"CREATE TABLE "kept" AS SELECT * FROM "device" WHERE "id" % 3 = 0"#;
    watched.server.psql_in("fleet", keep);
    let gone = watched.fleet.act(&Act::DeleteEveryNth { nth: 3 }).len();
    watched.by_ops(r#"DELETE FROM "device" WHERE "id" % 3 = 0"#);
    let incidents = watched.sample().await;
    let [incident] = &incidents[..] else { panic!("{incidents:#?}") };
    let record = incident.current();
    println!("{}\n\n{}", record.summary, record.description);
    assert_eq!(record.cause, Cause::MassDeletion);
    assert_eq!(record.blast_radius.devices, gone as u64);
    assert_contains(&record.summary, "1,666 devices in ");
    assert_contains(&record.summary, r#"role ops ran DELETE FROM "device" WHERE "id" % $1 = $2"#);
    assert_contains(&record.summary, "(1,666 rows); no migration was running.");
    assert_contains(&record.description, "3,334 devices are left (5,000 before)");
    assert_contains(&record.description, "exactly as many");
    assert_contains(&record.description, "WAL position ");
    // They come back with their ids: it is over.
    watched.server.psql_in("fleet", r#"INSERT INTO "device" SELECT * FROM "kept""#);
    watched.sample().await;
    let incidents = watched.sample().await;
    assert!(incidents.iter().any(|one| one.resolved_at.is_some()), "{incidents:#?}");
}

#[tokio::test]
async fn an_owner_who_deletes_and_one_who_moves_devices_are_left_alone() {
    let Some(mut watched) = Watched::start().await else { return };
    for _ in 0..3 {
        assert_eq!(watched.sample().await, []);
    }
    let owned = r#"(SELECT "id" FROM "application" WHERE "organization" = 1)"#;
    watched.by_ops(&format!(r#"DELETE FROM "device" WHERE "belongs to-application" IN {owned}"#));
    assert_eq!(watched.sample().await, []);
    // Everybody's devices into everybody's first application.
    watched.by_ops(
        r#"UPDATE "device" SET "is pinned on-release" = NULL, "belongs to-application" =
           (SELECT min(other."id") FROM "application" JOIN "application" AS other
            ON other."organization" = "application"."organization"
            WHERE "application"."id" = "device"."belongs to-application")"#,
    );
    let told = watched.sample().await;
    assert!(told.iter().all(|one| one.current().cause != Cause::MassDeletion), "{told:#?}");
}
