PRAGMA application_id = 1481331532;
PRAGMA user_version = 3;
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    code BLOB NOT NULL
) STRICT;
INSERT INTO head VALUES (1, 2, X'2A014F90070FA409C0F063B850EDDFF7894E52868298EE81DAF729A7E3731F97');
CREATE TABLE changes (
    table_name TEXT NOT NULL,
    row_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    is_removed INTEGER NOT NULL,
    PRIMARY KEY (table_name, row_id)
) STRICT, WITHOUT ROWID;
INSERT INTO changes VALUES ('credentials', 'BETWEEN2TENAND3TENCHARACTERS', 2, 0);
INSERT INTO changes VALUES ('key_sets', 'prmabsvyefu5prras4hc3hnw', 2, 0);
INSERT INTO changes VALUES ('key_stores', 'k6hzkcv46ycp6aryydyr6pvz', 2, 0);
INSERT INTO changes VALUES ('keys', 'key-of-salaries', 2, 0);
INSERT INTO changes VALUES ('roots', 'dumps', 1, 0);
INSERT INTO changes VALUES ('schedules', '7q4d5tbn4ae5ohic2cdq2f6h', 2, 0);
INSERT INTO changes VALUES ('tenants', '4omq467penxk7dvsdofk6t4x', 2, 0);
INSERT INTO changes VALUES ('versions', 'key-of-salaries/00000001', 2, 0);
INSERT INTO changes VALUES ('versions', 'key-of-salaries/00000002', 2, 0);
CREATE INDEX changes_by_revision ON changes (revision);
CREATE TABLE claims (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    counter INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
INSERT INTO claims VALUES ('count', 'key-of-salaries/00000002', '', 1048576, '');
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
INSERT INTO events VALUES (1, 1800000000, 'alice', 'create', 'keys/key-of-salaries', 'done', 2, NULL, NULL, NULL);
CREATE INDEX events_by_object ON events (object, number);
CREATE TABLE roots (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    kind TEXT,
    backend_key TEXT,
    created INTEGER,
    wrapped BLOB
) STRICT, WITHOUT ROWID;
INSERT INTO roots VALUES ('dumps', 1, X'F28111279F51A69BDFA515F3A8666644', 'file', NULL, 1800000000, X'01F74438D9187DC3F5E2CD54BEF570C6D005B9D8FBC1E043506E4447B0236F103925D2A4303F6D38C5B73D2708A80E96AE370E5FDC47B5EA0B5264831B');
CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    name TEXT,
    description TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO tenants VALUES ('4omq467penxk7dvsdofk6t4x', 2, X'2B714FC5D4B22D678385D1C64B93A208', 'Payroll', '');
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
INSERT INTO key_stores VALUES ('k6hzkcv46ycp6aryydyr6pvz', 2, X'60247C594933199867D54CE5DD02CAFA', '4omq467penxk7dvsdofk6t4x', 'Payroll', '/payroll', 'eu-central-1 us-east-1', 0);
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
INSERT INTO credentials VALUES ('BETWEEN2TENAND3TENCHARACTERS', 2, X'D7B1159EC486780BC3A256EB817CE0BC', 'k6hzkcv46ycp6aryydyr6pvz', X'0106342ACE66AFE115D743B0BC345061F43B7DEEF7FDB92916C06EC640066E1497C3D6EC3F36CE31D2FBB3EC24F2CB6B2D82201F069CBF3C931790E233A3C42570A58251E4C0EB998C49', 1800000000, NULL, 0);
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
, schedule_since INTEGER) STRICT, WITHOUT ROWID;
INSERT INTO key_sets VALUES ('prmabsvyefu5prras4hc3hnw', 2, X'C1EEC73132BA6BCA8E8090C885984D7B', '4omq467penxk7dvsdofk6t4x', 'Salaries', '', NULL, 'vault', 'hsm', 'k6hzkcv46ycp6aryydyr6pvz', '7q4d5tbn4ae5ohic2cdq2f6h', NULL, 30, 1, 0, NULL);
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
, rotation_since INTEGER) STRICT, WITHOUT ROWID;
INSERT INTO keys VALUES ('key-of-salaries', 2, X'6E1B05138D071063358CB8A5EC8C88EE', 'prmabsvyefu5prras4hc3hnw', 'Salaries 2027', '', 'enabled', NULL, 1831536000, 'ENCRYPT DECRYPT', 'inherited', 1, 1, 1, 'arn:aws:kms:eu-central-1:111122223333:key/1234', NULL);
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
, promoted INTEGER) STRICT, WITHOUT ROWID;
INSERT INTO versions VALUES ('key-of-salaries/00000001', 2, X'69315EBE1854F55777CBB33660381437', 1, 'decrypt-only', 1800000000, 'backend', 'label-in-the-hsm', '03030303030303030303030303030303', NULL, 2147483648, X'76657273696F6E3D31', NULL);
INSERT INTO versions VALUES ('key-of-salaries/00000002', 2, X'26036965346631A7B80CE0F618C27311', 2, 'current', 1800000000, 'vault', NULL, NULL, X'01EA09649CAF0EE0F23440D5B5E89C94AB1E95A33971769472839C926AA5072D3186B1DDD2CB497B0FDD812DE11A8BE7A85C565FA2F0D966F0E18B2128', 0, NULL, NULL);
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
INSERT INTO schedules VALUES ('7q4d5tbn4ae5ohic2cdq2f6h', 2, X'4293F4420C1AA773BB6006A263FB19B7', '4omq467penxk7dvsdofk6t4x', 'Each quarter', '', NULL, '30 2 1 */3 *', 'Europe/Berlin', 0, 0);
CREATE TABLE restores (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    time INTEGER,
    backup_revision INTEGER,
    backup_time INTEGER
) STRICT, WITHOUT ROWID;
