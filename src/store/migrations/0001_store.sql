-- Times are milliseconds since 1970 in UTC. Bodies are JSON of the program's own types.

CREATE TABLE signal (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL
) STRICT;

-- One row a present value; a missing sample has no row. Clustered by signal, because charts read one
-- signal over a span, and because forty signals' tails stay in the page cache.
CREATE TABLE sample (
    signal_id INTEGER NOT NULL REFERENCES signal (id),
    at_ms INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (signal_id, at_ms)
) STRICT, WITHOUT ROWID;

CREATE TABLE change (
    seq INTEGER PRIMARY KEY,
    detected_at_ms INTEGER NOT NULL,
    signal TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE INDEX change_detected_at ON change (detected_at_ms);

-- The columns are for queries; the body is the truth.
CREATE TABLE incident (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    opened_at_ms INTEGER NOT NULL,
    resolved_at_ms INTEGER,
    severity TEXT NOT NULL,
    cause TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE INDEX incident_opened_at ON incident (opened_at_ms);
CREATE INDEX incident_resolved_at ON incident (resolved_at_ms);

-- Detector state as of the last commit, in the one row.
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
