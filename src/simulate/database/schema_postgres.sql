-- The tables of an open-balena database that say anything about the fleet's state, with the names,
-- types, keys and indexes that they have there. Left out: columns and tables that nothing here
-- reads.

CREATE TABLE "organization" (
    "created at" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "modified at" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "id" SERIAL NOT NULL PRIMARY KEY,
    "name" VARCHAR(255) NOT NULL,
    "handle" VARCHAR(255) NOT NULL UNIQUE
);

CREATE TABLE "application" (
    "created at" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "modified at" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "id" SERIAL NOT NULL PRIMARY KEY,
    "organization" INTEGER NOT NULL REFERENCES "organization" ("id"),
    "app name" VARCHAR(255) NOT NULL,
    "slug" VARCHAR(255) NOT NULL UNIQUE,
    "uuid" TEXT NOT NULL UNIQUE,
    "should track latest release" BOOLEAN NOT NULL DEFAULT TRUE,
    "should be running-release" INTEGER NULL,
    "is host" BOOLEAN NOT NULL DEFAULT FALSE,
    "is archived" BOOLEAN NOT NULL DEFAULT FALSE,
    "is public" BOOLEAN NOT NULL DEFAULT FALSE
);

CREATE TABLE "release" (
    "created at" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "modified at" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "id" SERIAL NOT NULL PRIMARY KEY,
    "belongs to-application" INTEGER NOT NULL REFERENCES "application" ("id"),
    "commit" VARCHAR(255) NOT NULL,
    "status" VARCHAR(255) NOT NULL CHECK (
        "status" IN ('running', 'success', 'failed', 'error', 'cancelled', 'interrupted')
    ),
    "source" VARCHAR(255) NOT NULL DEFAULT 'cloud',
    "is invalidated" BOOLEAN NOT NULL DEFAULT FALSE
);

ALTER TABLE "application"
ADD CONSTRAINT "application_should be running-release_fkey"
FOREIGN KEY ("should be running-release") REFERENCES "release" ("id");

-- "is running-release" has no foreign key there either: a device goes on running a deleted release.
CREATE TABLE "device" (
    "created at" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "modified at" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "id" SERIAL NOT NULL PRIMARY KEY,
    "uuid" TEXT NOT NULL UNIQUE,
    "device name" VARCHAR(255) NOT NULL,
    "note" TEXT NULL,
    "belongs to-application" INTEGER NULL REFERENCES "application" ("id"),
    "is online" BOOLEAN NOT NULL DEFAULT FALSE,
    "is connected to vpn" BOOLEAN NOT NULL DEFAULT FALSE,
    "api heartbeat state" VARCHAR(255) NOT NULL DEFAULT 'unknown' CHECK (
        "api heartbeat state" IN ('online', 'offline', 'timeout', 'unknown')
    ),
    "last connectivity event" TIMESTAMPTZ NULL,
    "last vpn event" TIMESTAMPTZ NULL,
    "is running-release" INTEGER NULL,
    "is pinned on-release" INTEGER NULL REFERENCES "release" ("id"),
    "should be operated by-release" INTEGER NULL REFERENCES "release" ("id"),
    "should be managed by-release" INTEGER NULL REFERENCES "release" ("id"),
    "status" VARCHAR(255) NULL,
    "update status" VARCHAR(255) NULL CHECK (
        "update status" IN (
            'rejected', 'downloading', 'downloaded', 'applying changes', 'aborted', 'done'
        )
    ),
    "last update status event" TIMESTAMPTZ NULL,
    "download progress" INTEGER NULL,
    "provisioning state" VARCHAR(255) NULL,
    "os version" VARCHAR(255) NULL,
    "supervisor version" VARCHAR(255) NULL,
    "ip address" TEXT NULL,
    "mac address" TEXT NULL,
    "memory usage" INTEGER NULL,
    "cpu usage" INTEGER NULL,
    "cpu temp" INTEGER NULL
);

CREATE INDEX "application_organization_idx" ON "application" ("organization");
CREATE INDEX "application_release_idx" ON "application" ("should be running-release");
CREATE INDEX "application_is_host_idx" ON "application" ("is host", "id");
CREATE INDEX "release_application_commit_status_idx"
ON "release" ("belongs to-application", "commit", "status");
CREATE INDEX "release_id_belongs_to_app_status_idx"
ON "release" ("id", "belongs to-application", "status");
CREATE INDEX "device_application_idx" ON "device" ("belongs to-application");
CREATE INDEX "device_is_running_release_idx" ON "device" ("is running-release");
CREATE INDEX "device_is_pinned_on_release_application_idx"
ON "device" ("is pinned on-release", "belongs to-application");
CREATE INDEX "device_should_be_operated_by_release_idx"
ON "device" ("should be operated by-release");
CREATE INDEX "device_should_be_managed_by__release_idx"
ON "device" ("should be managed by-release");
CREATE INDEX "device_api heartbeat state_idx" ON "device" ("api heartbeat state");
CREATE INDEX "device_name_idx" ON "device" ("device name");

-- What pinejs keeps of its migrations.
CREATE TABLE "migration" (
    "created at" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "modified at" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "model name" VARCHAR(255) NOT NULL PRIMARY KEY,
    "executed migrations" JSONB NOT NULL
);

CREATE TABLE "migration status" (
    "created at" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "modified at" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "migration key" VARCHAR(255) NOT NULL PRIMARY KEY,
    "start time" TIMESTAMPTZ NULL,
    "last run time" TIMESTAMPTZ NULL,
    "run count" INTEGER NOT NULL,
    "migrated row count" INTEGER NULL,
    "error count" INTEGER NOT NULL,
    "is backing off" BOOLEAN NOT NULL DEFAULT FALSE,
    "converged time" TIMESTAMPTZ NULL
);

INSERT INTO "migration" ("model name", "executed migrations")
VALUES ('resin', '["00087-add-device-pinned-on-release", "00093-device-last-update-status"]');
