PRAGMA application_id = 1481331532;
PRAGMA user_version = 5;
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    code BLOB NOT NULL
) STRICT;
INSERT INTO head VALUES (1, 2, X'8917C8B733DFA625A79C23A026709A461049C5F66D51AF4C73FDBCDDD1E494CD');
CREATE TABLE changes (
    table_name TEXT NOT NULL,
    row_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    is_removed INTEGER NOT NULL,
    PRIMARY KEY (table_name, row_id)
) STRICT, WITHOUT ROWID;
INSERT INTO changes VALUES ('cloud_accounts', 'bgnq52k6t3ycybn7qsrm2i2h', 2, 0);
INSERT INTO changes VALUES ('cloud_key_stores', 'ea2yuadnpu76ry5mhtk3jtmd', 2, 0);
INSERT INTO changes VALUES ('cloud_keys', 'ghkihaienpjrcbvxpsozctzn', 2, 0);
INSERT INTO changes VALUES ('credentials', 'BETWEEN2TENAND3TENCHARACTERS', 2, 0);
INSERT INTO changes VALUES ('key_sets', 'tlm2osr6fzizuig2i4gclfjv', 2, 0);
INSERT INTO changes VALUES ('key_stores', 'oplphfgjq5s5umdib2cvn47y', 2, 0);
INSERT INTO changes VALUES ('keys', 'key-of-salaries', 2, 0);
INSERT INTO changes VALUES ('roots', 'dumps', 1, 0);
INSERT INTO changes VALUES ('schedules', 'vhyir2qtbcg3tlzvjnplye45', 2, 0);
INSERT INTO changes VALUES ('tenants', 'xgjx4rp7pikm5zwdvgrnxma7', 2, 0);
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
INSERT INTO roots VALUES ('dumps', 1, X'816FB6C9071BE0D1C12051CEB093B78F', 'file', NULL, 1800000000, X'01E903828DF2A71D17F01E61B885E617EAB265E553669F2D9469D06E7706EBA7A46E16AE47A9A8773382307E91A2A85F02D74E30DE17B7EF208A1FE826');
CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    name TEXT,
    description TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO tenants VALUES ('xgjx4rp7pikm5zwdvgrnxma7', 2, X'9E20010405B831E3338F2DE488C59725', 'Payroll', '');
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
INSERT INTO key_stores VALUES ('oplphfgjq5s5umdib2cvn47y', 2, X'B68DDADF01A46FEE5CA0E22673C701A0', 'xgjx4rp7pikm5zwdvgrnxma7', 'Payroll', '/payroll', 'eu-central-1 us-east-1', 0, 'vhyir2qtbcg3tlzvjnplye45', NULL, 90);
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
INSERT INTO credentials VALUES ('BETWEEN2TENAND3TENCHARACTERS', 2, X'1BCB314C653FA1F7B51A23C36F358FA7', 'oplphfgjq5s5umdib2cvn47y', X'013C706D23C5780D08EE4BD0EE084A40041F38784D049DFA93DB333CF59248D454258706BB7CD1AA75B9A39CDE65F96D5C5CBB3C196DE1C00F2DB51186A1DC294D6724F3D4D7E5366D54', 1800000000, NULL, 0, 1);
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
INSERT INTO key_sets VALUES ('tlm2osr6fzizuig2i4gclfjv', 2, X'A0F416BCAC7B812780727BC7B3223F8D', 'xgjx4rp7pikm5zwdvgrnxma7', 'Salaries', '', NULL, 'vault', 'hsm', 'oplphfgjq5s5umdib2cvn47y', 'vhyir2qtbcg3tlzvjnplye45', NULL, 30, 1, 0, NULL);
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
INSERT INTO keys VALUES ('key-of-salaries', 2, X'B34B5FA49FC92FAED83BCA1E40E2CF1E', 'tlm2osr6fzizuig2i4gclfjv', 'Salaries 2027', '', 'enabled', NULL, 1831536000, 'ENCRYPT DECRYPT', 'inherited', 1, 1, 1, 'arn:aws:kms:eu-central-1:111122223333:key/1234', NULL);
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
INSERT INTO versions VALUES ('key-of-salaries/00000001', 2, X'F4981724A29B45CF1C91DC5259DBA85D', 1, 'decrypt-only', 1800000000, 'backend', 'label-in-the-hsm', '03030303030303030303030303030303', NULL, 2147483648, X'76657273696F6E3D31', NULL);
INSERT INTO versions VALUES ('key-of-salaries/00000002', 2, X'1F1D700D2F7A88DEF18EBD467EAAEF7B', 2, 'current', 1800000000, 'vault', NULL, NULL, X'01EA38046DA6D8136006F077C4779B330CF96444CBC49F769B29C43B737C5779427AE55D3C6DAE3775B1C5AF5937CB54EC62FE57F834878B495C9D98C6', 0, NULL, NULL);
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
INSERT INTO schedules VALUES ('vhyir2qtbcg3tlzvjnplye45', 2, X'E76BC8FF663A8F2E7C00304BB926A6F6', 'xgjx4rp7pikm5zwdvgrnxma7', 'Each quarter', '', NULL, '30 2 1 */3 *', 'Europe/Berlin', 0, 0);
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
INSERT INTO cloud_accounts VALUES ('bgnq52k6t3ycybn7qsrm2i2h', 2, X'ACC76EC3243C9CA111757B7A52D4A1ED', 'xgjx4rp7pikm5zwdvgrnxma7', 'Main', '', 'eu-central-1', 'access-key', NULL, 'AKIAIOSFODNN7EXAMPLE', X'01FB792EC35DFCBB85AE1DBC3D2FD6DF3706131BE5FE425E968B3131700F5140ACADC7DFCF36925352D64A4E068A47CB67717AA7DA50C171367A5F414DF71D99AE5F1F46DBAA95E8C7A2', 'AKIAI44QH8DHBEXAMPLE', X'01CED46B75B4CEAECAD0599102644A618F1006AB165671476A0970E553A3147F7C2AC655C1C4BC2142574BC12134E4BA03A837C1F3DFF4477C14F8D9AAD7CF90B3CE9AACDC29A2044CAD', NULL, NULL, NULL, '111122223333');
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
INSERT INTO cloud_key_stores VALUES ('ea2yuadnpu76ry5mhtk3jtmd', 2, X'CF9BB81E74C383508CAB808A6E58B27C', 'xgjx4rp7pikm5zwdvgrnxma7', 'bgnq52k6t3ycybn7qsrm2i2h', 'eu-central-1', 'payroll-in-aws', 'oplphfgjq5s5umdib2cvn47y', 'https://xks.example.com', 'com.amazonaws.vpce.eu-central-1.vpce-svc-0123456789abcdef0', '111122223333', 'disconnected', 'cks-1234567890abcdef0');
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
) STRICT, WITHOUT ROWID;
INSERT INTO cloud_keys VALUES ('ghkihaienpjrcbvxpsozctzn', 2, X'5DCAFF22AD0AF802BAD4F2D372FE3FC7', 'tlm2osr6fzizuig2i4gclfjv', 'alias/salaries', '', 'bgnq52k6t3ycybn7qsrm2i2h', 'eu-central-1', 'external-key-store', 'ea2yuadnpu76ry5mhtk3jtmd', 'key-of-salaries', '{"team":"payroll"}', '["arn:aws:iam::111122223333:role/admin"]', '[]', NULL, 'deleted', 30, 'arn:aws:kms:eu-central-1:111122223333:key/1234', 0);
