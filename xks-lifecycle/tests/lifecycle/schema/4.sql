PRAGMA application_id = 1481331532;
PRAGMA user_version = 4;
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    code BLOB NOT NULL
) STRICT;
INSERT INTO head VALUES (1, 2, X'59018F4E5435AD1F229F01E50753296992DC43E4B9A9D236A11E03566F075948');
CREATE TABLE changes (
    table_name TEXT NOT NULL,
    row_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    is_removed INTEGER NOT NULL,
    PRIMARY KEY (table_name, row_id)
) STRICT, WITHOUT ROWID;
INSERT INTO changes VALUES ('credentials', 'BETWEEN2TENAND3TENCHARACTERS', 2, 0);
INSERT INTO changes VALUES ('key_sets', '4era7odej5vopf5vhujk6cot', 2, 0);
INSERT INTO changes VALUES ('key_stores', 'u64klnhapwu5glogznm4zi5x', 2, 0);
INSERT INTO changes VALUES ('keys', 'key-of-salaries', 2, 0);
INSERT INTO changes VALUES ('roots', 'dumps', 1, 0);
INSERT INTO changes VALUES ('schedules', 'zkbagtzexckj2wrzqx7om6kp', 2, 0);
INSERT INTO changes VALUES ('tenants', 'aqd2ivat4kw26a7fobx2pxt4', 2, 0);
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
INSERT INTO roots VALUES ('dumps', 1, X'514A218F4D552529C5DB8AA9BB37E9C4', 'file', NULL, 1800000000, X'015B59CF9442FAC4BDF58BB02EDE865D4B6685382F981225E2D7410F3EB084AA09AE16C0302604C002242EC11F480A68102A00A10656F7E7A5DE0F61DC');
CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    name TEXT,
    description TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO tenants VALUES ('aqd2ivat4kw26a7fobx2pxt4', 2, X'BBDDBA3F6D57BC682A2E9F0295863A0E', 'Payroll', '');
CREATE TABLE key_stores (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    tenant TEXT,
    name TEXT,
    prefix TEXT,
    regions TEXT,
    is_blocked INTEGER
, schedule TEXT, schedule_since INTEGER, overlap_minutes INTEGER) STRICT, WITHOUT ROWID;
INSERT INTO key_stores VALUES ('u64klnhapwu5glogznm4zi5x', 2, X'35E626362CAD90D7692569E70F4E4470', 'aqd2ivat4kw26a7fobx2pxt4', 'Payroll', '/payroll', 'eu-central-1 us-east-1', 0, 'zkbagtzexckj2wrzqx7om6kp', NULL, 90);
CREATE TABLE credentials (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    key_store TEXT,
    secret BLOB,
    created INTEGER,
    expires INTEGER,
    is_revoked INTEGER
, is_untaken INTEGER) STRICT, WITHOUT ROWID;
INSERT INTO credentials VALUES ('BETWEEN2TENAND3TENCHARACTERS', 2, X'1079161E3E4B2473772753C2945D87B3', 'u64klnhapwu5glogznm4zi5x', X'01631A663F04405B26CA5EE803A8851AC0C499AD45DBE40E458CF2EAAA4A0A02074682CBA8C4803808DB268249DA3C3AA4241173A29C6D220F177EAA0EAD4405A4D04314B84A777516DF', 1800000000, NULL, 0, 1);
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
INSERT INTO key_sets VALUES ('4era7odej5vopf5vhujk6cot', 2, X'AE7FB79E61CD1B592CE0F80E838C1F89', 'aqd2ivat4kw26a7fobx2pxt4', 'Salaries', '', NULL, 'vault', 'hsm', 'u64klnhapwu5glogznm4zi5x', 'zkbagtzexckj2wrzqx7om6kp', NULL, 30, 1, 0, NULL);
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
INSERT INTO keys VALUES ('key-of-salaries', 2, X'B99C73A36C3BA3E2985BFBD7A18C900A', '4era7odej5vopf5vhujk6cot', 'Salaries 2027', '', 'enabled', NULL, 1831536000, 'ENCRYPT DECRYPT', 'inherited', 1, 1, 1, 'arn:aws:kms:eu-central-1:111122223333:key/1234', NULL);
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
INSERT INTO versions VALUES ('key-of-salaries/00000001', 2, X'7DD1E50FDFC50D626799CB7F090AAAEC', 1, 'decrypt-only', 1800000000, 'backend', 'label-in-the-hsm', '03030303030303030303030303030303', NULL, 2147483648, X'76657273696F6E3D31', NULL);
INSERT INTO versions VALUES ('key-of-salaries/00000002', 2, X'701A655D356478D2B1DCD9492BE63BA5', 2, 'current', 1800000000, 'vault', NULL, NULL, X'01F10DF660DC26EF4F958D607CEAC4274408648E8937F3175A639842DB1279F1CC54B25375BE18BBB9B2DECF5FFF9F8C307493B8B7228FFA6DD2C9B3C2', 0, NULL, NULL);
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
INSERT INTO schedules VALUES ('zkbagtzexckj2wrzqx7om6kp', 2, X'7040E00880524CAF7A8ABE2BE2E9DAA6', 'aqd2ivat4kw26a7fobx2pxt4', 'Each quarter', '', NULL, '30 2 1 */3 *', 'Europe/Berlin', 0, 0);
CREATE TABLE restores (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    time INTEGER,
    backup_revision INTEGER,
    backup_time INTEGER
) STRICT, WITHOUT ROWID;
