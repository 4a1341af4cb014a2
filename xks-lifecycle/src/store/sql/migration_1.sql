-- The revision and the code of all rows; the one row is updated last in each commit.
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    code BLOB NOT NULL
) STRICT;
INSERT INTO head VALUES (1, 0, zeroblob(32));

-- The last change of each row that was ever there.
CREATE TABLE changes (
    table_name TEXT NOT NULL,
    row_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    is_removed INTEGER NOT NULL,
    PRIMARY KEY (table_name, row_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX changes_by_revision ON changes (revision);

CREATE TABLE claims (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    counter INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    actor TEXT NOT NULL,
    command TEXT NOT NULL,
    object TEXT NOT NULL,
    outcome TEXT NOT NULL,
    revision INTEGER,
    reason TEXT,
    state_before TEXT,
    state_after TEXT
) STRICT;
CREATE INDEX events_by_object ON events (object, number);

-- Times are in seconds since 1970, UTC. `code` authenticates a row; `wrapped`, `secret` and `material` are sealed.
CREATE TABLE roots (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    kind TEXT,
    backend_key TEXT,
    created INTEGER,
    wrapped BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    name TEXT,
    description TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE key_stores (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    tenant TEXT,
    name TEXT,
    prefix TEXT,
    regions TEXT,
    is_blocked INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE credentials (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    key_store TEXT,
    secret BLOB,
    created INTEGER,
    expires INTEGER,
    is_revoked INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE key_sets (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    tenant TEXT,
    name TEXT,
    description TEXT,
    administrators TEXT,
    source TEXT,
    backend TEXT,
    key_store TEXT,
    schedule TEXT,
    lifetime_days INTEGER,
    waiting_days INTEGER,
    keeps_decryption INTEGER,
    needs_two INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    key_set TEXT,
    name TEXT,
    description TEXT,
    state TEXT,
    deleted_after INTEGER,
    expires INTEGER,
    usages TEXT,
    rotation TEXT,
    min_encrypt INTEGER,
    min_decrypt INTEGER,
    min_kept INTEGER,
    kms_key TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    number INTEGER,
    state TEXT,
    created INTEGER,
    material_kind TEXT,
    backend_key TEXT,
    token TEXT,
    material BLOB,
    earlier_encryptions INTEGER,
    legacy_metadata BLOB
) STRICT, WITHOUT ROWID;
