PRAGMA application_id = 1481331532;
PRAGMA user_version = 2;
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    code BLOB NOT NULL
) STRICT;
INSERT INTO head VALUES (1, 2, X'7C7E39147317FE8E765BA0A8121FA45B2D43389CF54592EEEE39E30443AFD2C0');
CREATE TABLE changes (
    table_name TEXT NOT NULL,
    row_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    is_removed INTEGER NOT NULL,
    PRIMARY KEY (table_name, row_id)
) STRICT, WITHOUT ROWID;
INSERT INTO changes VALUES ('credentials', 'BETWEEN2TENAND3TENCHARACTERS', 2, 0);
INSERT INTO changes VALUES ('key_sets', 't47pkk6wp3zbjpn3y7uyybcw', 2, 0);
INSERT INTO changes VALUES ('key_stores', 'qv7557qjw6f6t25ebqy5d6vw', 2, 0);
INSERT INTO changes VALUES ('keys', 'key-of-salaries', 2, 0);
INSERT INTO changes VALUES ('roots', 'dumps', 1, 0);
INSERT INTO changes VALUES ('schedules', '253vtyk2fr3nnnkwx2xa6vpk', 2, 0);
INSERT INTO changes VALUES ('tenants', 'jbogzxdywbokcr23egji3rqg', 2, 0);
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
INSERT INTO roots VALUES ('dumps', 1, X'7CA4713C00435F3C7FD59E4C6FC18878', 'file', NULL, 1800000000, X'01283CA8162A899E13C4DE296806E2F327A92508AB845A0B1B7E9C47B8D33AFA7CADC4A3B8C98D9584EA3D1C2BD55E0E8C32DA2A00E07662B1421E9009');
CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    name TEXT,
    description TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO tenants VALUES ('jbogzxdywbokcr23egji3rqg', 2, X'852418FA62D78300C4FD6FC2B0D7F240', 'Payroll', '');
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
INSERT INTO key_stores VALUES ('qv7557qjw6f6t25ebqy5d6vw', 2, X'05BA5E6062DD01E64B1414B280CA4C03', 'jbogzxdywbokcr23egji3rqg', 'Payroll', '/payroll', 'eu-central-1 us-east-1', 0);
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
INSERT INTO credentials VALUES ('BETWEEN2TENAND3TENCHARACTERS', 2, X'8526AC1E7AAC3A5426775E94280880E6', 'qv7557qjw6f6t25ebqy5d6vw', X'0171B01B34F74853745E82FDE2414077608859CA7122F895C1313501D0F0E80CE2A41B27828703BED830C6F158764CDC530E56DA81A14C6601C768EB9AE8A8D5E2D19B46AD3DDA5AB92B', 1800000000, NULL, 0);
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
INSERT INTO key_sets VALUES ('t47pkk6wp3zbjpn3y7uyybcw', 2, X'D01A2339FA03E50136B121A6C8F41D26', 'jbogzxdywbokcr23egji3rqg', 'Salaries', '', NULL, 'vault', 'hsm', 'qv7557qjw6f6t25ebqy5d6vw', '253vtyk2fr3nnnkwx2xa6vpk', NULL, 30, 1, 0, NULL);
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
INSERT INTO keys VALUES ('key-of-salaries', 2, X'A58297DB689CF30629E480F1FF154D05', 't47pkk6wp3zbjpn3y7uyybcw', 'Salaries 2027', '', 'enabled', NULL, 1831536000, 'ENCRYPT DECRYPT', 'inherited', 1, 1, 1, 'arn:aws:kms:eu-central-1:111122223333:key/1234', NULL);
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
INSERT INTO versions VALUES ('key-of-salaries/00000001', 2, X'C2F3B9A8710257CBEC1443C529A6A7EF', 1, 'decrypt-only', 1800000000, 'backend', 'label-in-the-hsm', '03030303030303030303030303030303', NULL, 2147483648, X'76657273696F6E3D31', NULL);
INSERT INTO versions VALUES ('key-of-salaries/00000002', 2, X'4527DC364299EB920ABC26FDF96F54F9', 2, 'current', 1800000000, 'vault', NULL, NULL, X'0167D994E141D4247732DB92D92524CFC28DD8D373B72E31D4F3ECE11AECF94F33F05CC936561915D48DDBEBC35ADBFDE2445591668025EE032E7CFA12', 0, NULL, NULL);
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
INSERT INTO schedules VALUES ('253vtyk2fr3nnnkwx2xa6vpk', 2, X'25AB50E88AC247D10AD4BC79D0B935DA', 'jbogzxdywbokcr23egji3rqg', 'Each quarter', '', NULL, '30 2 1 */3 *', 'Europe/Berlin', 0, 0);
