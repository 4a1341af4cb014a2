-- Keys of our own that AWS imports, and their material.
ALTER TABLE cloud_keys ADD COLUMN style TEXT;
ALTER TABLE cloud_keys ADD COLUMN expires INTEGER;
ALTER TABLE cloud_keys ADD COLUMN disable_former INTEGER;
ALTER TABLE cloud_keys ADD COLUMN keep_days INTEGER;
ALTER TABLE cloud_keys ADD COLUMN rotation TEXT;
ALTER TABLE cloud_keys ADD COLUMN rotation_since INTEGER;
CREATE TABLE cloud_materials (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    cloud_key TEXT,
    number INTEGER,
    created INTEGER,
    material_kind TEXT,
    backend_key TEXT,
    token TEXT,
    material BLOB,
    check_value TEXT,
    fingerprint TEXT,
    destroyed INTEGER,
    kms_key TEXT,
    kms_material TEXT,
    imported INTEGER,
    valid_to INTEGER,
    wanted TEXT,
    former TEXT,
    former_days INTEGER,
    retired INTEGER
) STRICT, WITHOUT ROWID;
