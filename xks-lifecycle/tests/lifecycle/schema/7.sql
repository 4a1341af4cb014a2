PRAGMA application_id = 1481331532;
PRAGMA user_version = 7;
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    code BLOB NOT NULL
) STRICT;
INSERT INTO head VALUES (1, 2, X'7240C021A9C463ABB9BBF082E7D307DDA3DF42F3FC8DD072EB11C40E1E508663');
CREATE TABLE changes (
    table_name TEXT NOT NULL,
    row_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    is_removed INTEGER NOT NULL,
    PRIMARY KEY (table_name, row_id)
) STRICT, WITHOUT ROWID;
INSERT INTO changes VALUES ('cloud_accounts', '6yfelu26ez2qdwldr5vahlzh', 2, 0);
INSERT INTO changes VALUES ('cloud_key_stores', '7gr6ywuh4tdmvbgnjj6ckykn', 2, 0);
INSERT INTO changes VALUES ('cloud_keys', 'st5w3eqoh6rrrjjsphqgjqrm', 2, 0);
INSERT INTO changes VALUES ('cloud_keys', 'wandubbmiqlc44fotpgyxjoo', 2, 0);
INSERT INTO changes VALUES ('cloud_materials', '7o24jgnt3gbouuic5fc2ltq4', 2, 0);
INSERT INTO changes VALUES ('cloud_materials', 'jdwxf2urqwsdjiuprb5d6k6l', 2, 0);
INSERT INTO changes VALUES ('credentials', 'BETWEEN2TENAND3TENCHARACTERS', 2, 0);
INSERT INTO changes VALUES ('key_sets', 'jnmtzwavggs7imz4m3iznajw', 2, 0);
INSERT INTO changes VALUES ('key_stores', 'k6osfds6n52wfhhnned67occ', 2, 0);
INSERT INTO changes VALUES ('keys', 'key-of-salaries', 2, 0);
INSERT INTO changes VALUES ('roots', 'dumps', 1, 0);
INSERT INTO changes VALUES ('schedules', '2zxv52iudmld7nypayilwfiv', 2, 0);
INSERT INTO changes VALUES ('tenants', '7pgoq3m6e77w76pailrqnkho', 2, 0);
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
INSERT INTO roots VALUES ('dumps', 1, X'42CA4F7BBE94B9170796B73B6C1FFF76', 'file', NULL, 1800000000, X'0163801F15D4DA9E08093AB278CAD2AF0BE0F7D88921EC7FF99EBE3335505C1EA4078A09E5C84DDBA346A13F2E05AFBF0377A9DBC7CF098B32C261FF7A');
CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    name TEXT,
    description TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO tenants VALUES ('7pgoq3m6e77w76pailrqnkho', 2, X'B0992CF120A7BF396E6208F4E98A2CFD', 'Payroll', '');
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
INSERT INTO key_stores VALUES ('k6osfds6n52wfhhnned67occ', 2, X'3CA4473951833EA6653CA12FF91C58E9', '7pgoq3m6e77w76pailrqnkho', 'Payroll', '/payroll', 'eu-central-1 us-east-1', 0, '2zxv52iudmld7nypayilwfiv', NULL, 90);
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
INSERT INTO credentials VALUES ('BETWEEN2TENAND3TENCHARACTERS', 2, X'E4795697F250786FCB5625D18A931DF1', 'k6osfds6n52wfhhnned67occ', X'010CD51744828C8F830493044B8CF8A8960FCCCADB6309B4B6A478F81144A7CAC1C657F2F8B1FD719AED389E268F74E1F2A057BAB78AC2AFF133494A3321ACF60F59238EB47D9EB5EE97', 1800000000, NULL, 0, 1);
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
INSERT INTO key_sets VALUES ('jnmtzwavggs7imz4m3iznajw', 2, X'55D502168CF8F3792A4219A8D77F16CB', '7pgoq3m6e77w76pailrqnkho', 'Salaries', '', NULL, 'vault', 'hsm', 'k6osfds6n52wfhhnned67occ', '2zxv52iudmld7nypayilwfiv', NULL, 30, 1, 0, NULL);
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
INSERT INTO keys VALUES ('key-of-salaries', 2, X'8A0FAAEBE187F6D117780D3EFCB20CE6', 'jnmtzwavggs7imz4m3iznajw', 'Salaries 2027', '', 'enabled', NULL, 1831536000, 'ENCRYPT DECRYPT', 'inherited', 1, 1, 1, 'arn:aws:kms:eu-central-1:111122223333:key/1234', NULL);
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
INSERT INTO versions VALUES ('key-of-salaries/00000001', 2, X'907DA82E8F6849F78DC2303806507237', 1, 'decrypt-only', 1800000000, 'backend', 'label-in-the-hsm', '03030303030303030303030303030303', NULL, 2147483648, X'76657273696F6E3D31', NULL);
INSERT INTO versions VALUES ('key-of-salaries/00000002', 2, X'02A7E95019C507E5CC82D8EA48418A73', 2, 'current', 1800000000, 'vault', NULL, NULL, X'01DCFEA4A636EB50EF640B7856C8474F73E35C799907535C6C7BC8D31730B688007C8932EB6CA9FA2627182E0EF05C4E65B9010B65DEB4C833015E1E9D', 0, NULL, NULL);
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
INSERT INTO schedules VALUES ('2zxv52iudmld7nypayilwfiv', 2, X'67407C52D052ACA211F762511E3C6072', '7pgoq3m6e77w76pailrqnkho', 'Each quarter', '', NULL, '30 2 1 */3 *', 'Europe/Berlin', 0, 0);
CREATE TABLE restores (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    time INTEGER,
    backup_revision INTEGER,
    backup_time INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE cloud_accounts (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    tenant TEXT,
    name TEXT,
    description TEXT,
    region TEXT,
    credential TEXT,
    credential_file TEXT,
    access_key TEXT,
    secret BLOB,
    next_access_key TEXT,
    next_secret BLOB,
    rotated INTEGER,
    schedule TEXT,
    schedule_since INTEGER,
    account TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO cloud_accounts VALUES ('6yfelu26ez2qdwldr5vahlzh', 2, X'2E6BFF542FFC00C5067A86948C3339A5', '7pgoq3m6e77w76pailrqnkho', 'Main', '', 'eu-central-1', 'access-key', NULL, 'AKIAIOSFODNN7EXAMPLE', X'01353F3F001871F7F82F5652CC7043AE7FC36DCC6A73C331CB2E37AB613899DD798D26B30771778A758D9F3210BFE39312B4969695991AAE397267406885F66F94D1C2385207E06FFA92', 'AKIAI44QH8DHBEXAMPLE', X'0199EDFB2981DFEA3BF26490CCD50AA5AFCCCBE646DFCF61AB20E56FF24B5EED774B4E4CF9CB38C7D46E169A683890E46D1636564C16D4F658523B715535D612C920D2A0B38B32AB85A8', NULL, NULL, NULL, '111122223333');
CREATE TABLE cloud_key_stores (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    tenant TEXT,
    account TEXT,
    region TEXT,
    name TEXT,
    key_store TEXT,
    endpoint TEXT,
    vpc_service TEXT,
    vpc_owner TEXT,
    wanted TEXT,
    custom_key_store_id TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO cloud_key_stores VALUES ('7gr6ywuh4tdmvbgnjj6ckykn', 2, X'5EBD314A7E38BFC933670337B82B03B4', '7pgoq3m6e77w76pailrqnkho', '6yfelu26ez2qdwldr5vahlzh', 'eu-central-1', 'payroll-in-aws', 'k6osfds6n52wfhhnned67occ', 'https://xks.example.com', 'com.amazonaws.vpce.eu-central-1.vpce-svc-0123456789abcdef0', '111122223333', 'disconnected', 'cks-1234567890abcdef0');
CREATE TABLE cloud_keys (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    key_set TEXT,
    alias TEXT,
    description TEXT,
    account TEXT,
    region TEXT,
    origin TEXT,
    cloud_key_store TEXT,
    managed_key TEXT,
    tags TEXT,
    administrators TEXT,
    users TEXT,
    policy TEXT,
    wanted TEXT,
    waiting_days INTEGER,
    kms_key TEXT,
    is_adopted INTEGER
, style TEXT, expires INTEGER, disable_former INTEGER, keep_days INTEGER, rotation TEXT, rotation_since INTEGER, ending_within_days INTEGER) STRICT, WITHOUT ROWID;
INSERT INTO cloud_keys VALUES ('st5w3eqoh6rrrjjsphqgjqrm', 2, X'69A4194D32646626A33AE3B1F864F3E0', 'jnmtzwavggs7imz4m3iznajw', 'alias/salaries', '', '6yfelu26ez2qdwldr5vahlzh', 'eu-central-1', 'external-key-store', '7gr6ywuh4tdmvbgnjj6ckykn', 'key-of-salaries', '{"team":"payroll"}', '["arn:aws:iam::111122223333:role/admin"]', '[]', NULL, 'deleted', 30, 'arn:aws:kms:eu-central-1:111122223333:key/1234', 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO cloud_keys VALUES ('wandubbmiqlc44fotpgyxjoo', 2, X'CF9CD5AF0FEE30540D29BE20C445999A', 'jnmtzwavggs7imz4m3iznajw', 'alias/imported', '', '6yfelu26ez2qdwldr5vahlzh', 'eu-central-1', 'external', NULL, NULL, '{}', '[]', '[]', NULL, 'enabled', NULL, 'arn:aws:kms:eu-central-1:111122223333:key/5678', 0, 'new-key', 1900000000, 0, 60, 'inherited', NULL, 45);
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
, kept_until INTEGER) STRICT, WITHOUT ROWID;
INSERT INTO cloud_materials VALUES ('7o24jgnt3gbouuic5fc2ltq4', 2, X'460AF7994AA43F24AA98D3ED32B80D70', 'wandubbmiqlc44fotpgyxjoo', 1, 1800000000, 'vault', NULL, NULL, X'01F335F5F499A68FF33F4AC3B2C83B4DF638D55AE8128858ECA32F7D1032F556A502E4222AEEDF9F30451729BAAD45CAEABFFABDCC355021397FEE7FC6', 'cacaca', 'fefefefefefefefefefefefefefefefe', NULL, 'arn:aws:kms:eu-central-1:111122223333:key/5678', '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef', 1800000100, 1830000000, 'removed', 'deleted', 30, 1810000000, 1815184000);
INSERT INTO cloud_materials VALUES ('jdwxf2urqwsdjiuprb5d6k6l', 2, X'178EB730C1870530EE17E69593C78C84', 'wandubbmiqlc44fotpgyxjoo', 2, 1800000000, 'backend', 'material-in-the-hsm', '05050505050505050505050505050505', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'imported', 'enabled', NULL, NULL, NULL);
