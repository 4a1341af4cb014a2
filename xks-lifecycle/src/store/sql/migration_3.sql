-- When the state was restored from a backup; the id is the revision that this made.
CREATE TABLE restores (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    time INTEGER,
    backup_revision INTEGER,
    backup_time INTEGER
) STRICT, WITHOUT ROWID;
