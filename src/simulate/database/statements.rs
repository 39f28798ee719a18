//! The SQL with which the simulated fleet's database is filled and driven. Each statement stands in
//! both dialects where they differ. Ordinary changes come as one JSON array a statement, so that a
//! tick costs a few statements however many rows it changes; what a migration or an operator runs
//! is written as they would write it.

/// One statement in two dialects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statement {
    pub(super) postgres: &'static str,
    pub(super) sqlite: &'static str,
}

const fn same(sql: &'static str) -> Statement {
    Statement { postgres: sql, sqlite: sql }
}

pub(super) const INSERT_ORGANIZATIONS: Statement = Statement {
    postgres: r#"INSERT INTO "organization" ("id", "name", "handle", "created at", "modified at")
SELECT "id", "name", "handle", $2, $2
FROM json_to_recordset($1::json) AS row ("id" INTEGER, "name" TEXT, "handle" TEXT)"#,
    sqlite: r#"INSERT INTO "organization" ("id", "name", "handle", "created at", "modified at")
SELECT value ->> 'id', value ->> 'name', value ->> 'handle', $2, $2 FROM json_each($1)"#,
};

pub(super) const INSERT_APPLICATIONS: Statement = Statement {
    postgres: r#"INSERT INTO "application"
("id", "organization", "app name", "slug", "uuid", "is host", "created at", "modified at")
SELECT "id", "organization", "name", "slug", "uuid", "is_host", $2, $2
FROM json_to_recordset($1::json) AS row
("id" INTEGER, "organization" INTEGER, "name" TEXT, "slug" TEXT, "uuid" TEXT, "is_host" BOOLEAN)"#,
    sqlite: r#"INSERT INTO "application"
("id", "organization", "app name", "slug", "uuid", "is host", "created at", "modified at")
SELECT value ->> 'id', value ->> 'organization', value ->> 'name', value ->> 'slug',
value ->> 'uuid', value ->> 'is_host', $2, $2 FROM json_each($1)"#,
};

pub(super) const INSERT_RELEASES: Statement = Statement {
    postgres: r#"INSERT INTO "release"
("id", "belongs to-application", "commit", "status", "created at", "modified at")
SELECT "id", "application", "commit", 'success', $2, $2
FROM json_to_recordset($1::json) AS row ("id" INTEGER, "application" INTEGER, "commit" TEXT)"#,
    sqlite: r#"INSERT INTO "release"
("id", "belongs to-application", "commit", "status", "created at", "modified at")
SELECT value ->> 'id', value ->> 'application', value ->> 'commit', 'success', $2, $2
FROM json_each($1)"#,
};

pub(super) const INSERT_DEVICES: Statement = Statement {
    postgres: r#"INSERT INTO "device" (
"id", "uuid", "device name", "belongs to-application", "is pinned on-release", "is running-release",
"should be operated by-release", "should be managed by-release", "is online", "is connected to vpn",
"api heartbeat state", "update status", "download progress", "os version", "ip address",
"mac address", "created at", "modified at")
SELECT "id", "uuid", "name", "application", "pinned", "running", "host_os", "supervisor", "online",
"vpn", "heartbeat", "status", "progress", 'balenaOS 2.43.0+rev1', '192.168.1.20',
'52:54:00:12:34:56', $2, $2
FROM json_to_recordset($1::json) AS row (
"id" INTEGER, "uuid" TEXT, "name" TEXT, "application" INTEGER, "pinned" INTEGER,
"running" INTEGER, "host_os" INTEGER, "supervisor" INTEGER, "online" BOOLEAN, "vpn" BOOLEAN,
"heartbeat" TEXT, "status" TEXT, "progress" INTEGER)"#,
    sqlite: r#"INSERT INTO "device" (
"id", "uuid", "device name", "belongs to-application", "is pinned on-release", "is running-release",
"should be operated by-release", "should be managed by-release", "is online", "is connected to vpn",
"api heartbeat state", "update status", "download progress", "os version", "ip address",
"mac address", "created at", "modified at")
SELECT value ->> 'id', value ->> 'uuid', value ->> 'name', value ->> 'application',
value ->> 'pinned', value ->> 'running', value ->> 'host_os', value ->> 'supervisor',
value ->> 'online', value ->> 'vpn', value ->> 'heartbeat', value ->> 'status',
value ->> 'progress', 'balenaOS 2.43.0+rev1', '192.168.1.20', '52:54:00:12:34:56', $2, $2
FROM json_each($1)"#,
};

pub(super) const UPDATE_TARGETS: Statement = Statement {
    postgres: r#"UPDATE "application"
SET "should be running-release" = row."release", "modified at" = $2
FROM json_to_recordset($1::json) AS row ("id" INTEGER, "release" INTEGER)
WHERE "application"."id" = row."id""#,
    sqlite: r#"UPDATE "application"
SET "should be running-release" = row.value ->> 'release', "modified at" = $2
FROM json_each($1) AS row WHERE "application"."id" = row.value ->> 'id'"#,
};

pub(super) const UPDATE_PINS: Statement = Statement {
    postgres: r#"UPDATE "device" SET "is pinned on-release" = row."release", "modified at" = $2
FROM json_to_recordset($1::json) AS row ("id" INTEGER, "release" INTEGER)
WHERE "device"."id" = row."id""#,
    sqlite: r#"UPDATE "device"
SET "is pinned on-release" = row.value ->> 'release', "modified at" = $2
FROM json_each($1) AS row WHERE "device"."id" = row.value ->> 'id'"#,
};

pub(super) const UPDATE_HOST_OS_TARGETS: Statement = Statement {
    postgres: r#"UPDATE "device" SET "should be operated by-release" = row."release",
"modified at" = $2
FROM json_to_recordset($1::json) AS row ("id" INTEGER, "release" INTEGER)
WHERE "device"."id" = row."id""#,
    sqlite: r#"UPDATE "device"
SET "should be operated by-release" = row.value ->> 'release', "modified at" = $2
FROM json_each($1) AS row WHERE "device"."id" = row.value ->> 'id'"#,
};

pub(super) const UPDATE_SUPERVISOR_TARGETS: Statement = Statement {
    postgres: r#"UPDATE "device" SET "should be managed by-release" = row."release",
"modified at" = $2
FROM json_to_recordset($1::json) AS row ("id" INTEGER, "release" INTEGER)
WHERE "device"."id" = row."id""#,
    sqlite: r#"UPDATE "device"
SET "should be managed by-release" = row.value ->> 'release', "modified at" = $2
FROM json_each($1) AS row WHERE "device"."id" = row.value ->> 'id'"#,
};

pub(super) const UPDATE_APPLICATIONS_OF_DEVICES: Statement = Statement {
    postgres: r#"UPDATE "device" SET "belongs to-application" = row."application",
"is pinned on-release" = NULL, "modified at" = $2
FROM json_to_recordset($1::json) AS row ("id" INTEGER, "application" INTEGER)
WHERE "device"."id" = row."id""#,
    sqlite: r#"UPDATE "device" SET "belongs to-application" = row.value ->> 'application',
"is pinned on-release" = NULL, "modified at" = $2
FROM json_each($1) AS row WHERE "device"."id" = row.value ->> 'id'"#,
};

pub(super) const UPDATE_CONNECTIONS: Statement = Statement {
    postgres: r#"UPDATE "device" SET "is connected to vpn" = row."vpn", "is online" = row."online",
"api heartbeat state" = row."heartbeat", "last connectivity event" = $2, "modified at" = $2
FROM json_to_recordset($1::json) AS row
("id" INTEGER, "vpn" BOOLEAN, "online" BOOLEAN, "heartbeat" TEXT)
WHERE "device"."id" = row."id""#,
    sqlite: r#"UPDATE "device" SET "is connected to vpn" = row.value ->> 'vpn',
"is online" = row.value ->> 'online', "api heartbeat state" = row.value ->> 'heartbeat',
"last connectivity event" = $2, "modified at" = $2
FROM json_each($1) AS row WHERE "device"."id" = row.value ->> 'id'"#,
};

pub(super) const UPDATE_PROGRESS: Statement = Statement {
    postgres: r#"UPDATE "device" SET "is running-release" = row."running",
"update status" = row."status", "download progress" = row."progress",
"last update status event" = $2, "modified at" = $2
FROM json_to_recordset($1::json) AS row
("id" INTEGER, "running" INTEGER, "status" TEXT, "progress" INTEGER)
WHERE "device"."id" = row."id""#,
    sqlite: r#"UPDATE "device" SET "is running-release" = row.value ->> 'running',
"update status" = row.value ->> 'status', "download progress" = row.value ->> 'progress',
"last update status event" = $2, "modified at" = $2
FROM json_each($1) AS row WHERE "device"."id" = row.value ->> 'id'"#,
};

pub(super) const UPDATE_REPORTS: Statement = Statement {
    postgres: r#"UPDATE "device" SET "cpu usage" = row."cpu", "modified at" = $2
FROM json_to_recordset($1::json) AS row ("id" INTEGER, "cpu" INTEGER)
WHERE "device"."id" = row."id""#,
    sqlite: r#"UPDATE "device" SET "cpu usage" = row.value ->> 'cpu', "modified at" = $2
FROM json_each($1) AS row WHERE "device"."id" = row.value ->> 'id'"#,
};

pub(super) const DELETE_DEVICES: Statement = Statement {
    postgres: r#"DELETE FROM "device" USING json_to_recordset($1::json) AS row ("id" INTEGER)
WHERE "device"."id" = row."id""#,
    sqlite: r#"DELETE FROM "device" WHERE "id" IN (SELECT value ->> 'id' FROM json_each($1))"#,
};

/// An operator's statement: no condition, no "modified at".
pub(super) const UNPIN_EVERYTHING: Statement =
    same(r#"UPDATE "device" SET "is pinned on-release" = NULL"#);

pub(super) const UNPIN_BATCH: Statement = same(
    r#"UPDATE "device" SET "is pinned on-release" = NULL
WHERE "id" IN (
    SELECT "id" FROM "device" WHERE "is pinned on-release" IS NOT NULL ORDER BY "id" LIMIT $1
)"#,
);

pub(super) const PIN_EVERYTHING: Statement = same(
    r#"UPDATE "device" SET "is pinned on-release" = "is running-release"
WHERE "is running-release" IN (SELECT "id" FROM "release")"#,
);

/// A batch of a migration: rows that are done drop out of the condition.
pub(super) const PIN_BATCH: Statement = same(
    r#"UPDATE "device" SET "is pinned on-release" = "is running-release"
WHERE "id" IN (
    SELECT "device"."id" FROM "device"
    JOIN "release" ON "release"."id" = "device"."is running-release"
    WHERE "device"."is pinned on-release" IS DISTINCT FROM "device"."is running-release"
    ORDER BY "device"."id" LIMIT $1
)"#,
);

pub(super) const UNPIN_APPLICATION: Statement = same(
    r#"UPDATE "device" SET "is pinned on-release" = NULL, "modified at" = $2
WHERE "belongs to-application" = $1 AND "is pinned on-release" IS NOT NULL"#,
);

pub(super) const UNPIN_ORGANIZATION: Statement = same(
    r#"UPDATE "device" SET "is pinned on-release" = NULL, "modified at" = $2
WHERE "belongs to-application" IN (SELECT "id" FROM "application" WHERE "organization" = $1)
AND "is pinned on-release" IS NOT NULL"#,
);

pub(super) const PIN_APPLICATION: Statement = same(
    r#"UPDATE "device" SET "is pinned on-release" = "is running-release", "modified at" = $2
WHERE "belongs to-application" = $1
AND "is pinned on-release" IS DISTINCT FROM "is running-release"
AND "is running-release" IN (SELECT "id" FROM "release")"#,
);

pub(super) const PIN_ORGANIZATION: Statement = same(
    r#"UPDATE "device" SET "is pinned on-release" = "is running-release", "modified at" = $2
WHERE "belongs to-application" IN (SELECT "id" FROM "application" WHERE "organization" = $1)
AND "is pinned on-release" IS DISTINCT FROM "is running-release"
AND "is running-release" IN (SELECT "id" FROM "release")"#,
);

/// A clean-up whose condition is wrong: it hits devices of every owner.
pub(super) const DELETE_EVERY_NTH: Statement = same(r#"DELETE FROM "device" WHERE "id" % $1 = 0"#);

pub(super) const DELETE_BATCH: Statement = same(
    r#"DELETE FROM "device"
WHERE "id" IN (SELECT "id" FROM "device" ORDER BY "id" LIMIT $1)"#,
);

pub(super) const DELETE_APPLICATION: Statement =
    same(r#"DELETE FROM "device" WHERE "belongs to-application" = $1"#);

pub(super) const DELETE_ORGANIZATION: Statement = same(
    r#"DELETE FROM "device" WHERE "belongs to-application" IN
(SELECT "id" FROM "application" WHERE "organization" = $1)"#,
);

pub(super) const MOVE_APPLICATION: Statement = same(
    r#"UPDATE "device" SET "belongs to-application" = $2, "is pinned on-release" = NULL
WHERE "belongs to-application" = $1"#,
);

/// The row that the migrator makes when it schedules an asynchronous migration.
pub(super) const START_MIGRATION: Statement = same(
    r#"INSERT INTO "migration status" ("migration key", "start time", "last run time", "run count",
"migrated row count", "error count", "is backing off")
VALUES ($1, $2, $2, 0, 0, 0, FALSE) ON CONFLICT ("migration key") DO NOTHING"#,
);

/// What it keeps after each run: a run that found nothing to do backs off and has converged.
pub(super) const COUNT_MIGRATION_RUN: Statement = same(
    r#"UPDATE "migration status" SET "run count" = "run count" + 1,
"migrated row count" = "migrated row count" + $2, "last run time" = $3, "modified at" = $3,
"is backing off" = ($2 = 0),
"converged time" = CASE WHEN $2 = 0 THEN COALESCE("converged time", $3) ELSE "converged time" END
WHERE "migration key" = $1"#,
);

/// After a fill with explicit ids: what the sequences give next.
pub(super) const SET_SEQUENCES: &str = r#"
SELECT setval(pg_get_serial_sequence('organization', 'id'), max("id")) FROM "organization";
SELECT setval(pg_get_serial_sequence('application', 'id'), max("id")) FROM "application";
SELECT setval(pg_get_serial_sequence('release', 'id'), max("id")) FROM "release";
SELECT setval(pg_get_serial_sequence('device', 'id'), max("id")) FROM "device";
"#;
