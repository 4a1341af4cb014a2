CREATE TABLE schedules (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    tenant TEXT,
    name TEXT,
    description TEXT,
    every_days INTEGER,
    cron TEXT,
    time_zone TEXT,
    jitter_minutes INTEGER,
    since INTEGER
) STRICT, WITHOUT ROWID;

-- From when on the times of a schedule count for a key.
ALTER TABLE key_sets ADD COLUMN schedule_since INTEGER;
ALTER TABLE keys ADD COLUMN rotation_since INTEGER;
ALTER TABLE versions ADD COLUMN promoted INTEGER;
