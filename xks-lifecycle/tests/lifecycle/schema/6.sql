PRAGMA application_id = 1481331532;
PRAGMA user_version = 6;
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    code BLOB NOT NULL
) STRICT;
INSERT INTO head VALUES (1, 2, X'59C9DC5436BF28556BD78C5A3C28BEAF97BCF2EB171DFCDCD610AC33B7162DB2');
CREATE TABLE changes (
    table_name TEXT NOT NULL,
    row_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    is_removed INTEGER NOT NULL,
    PRIMARY KEY (table_name, row_id)
) STRICT, WITHOUT ROWID;
INSERT INTO changes VALUES ('cloud_accounts', 't3bv647zutp3ajpjftc42lyw', 2, 0);
INSERT INTO changes VALUES ('cloud_key_stores', '7pfce5da7s2kiw2h24zzmzru', 2, 0);
INSERT INTO changes VALUES ('cloud_keys', 'dciuxqiuq5iioqdhtxxwwtwn', 2, 0);
INSERT INTO changes VALUES ('cloud_keys', 'sl727kdnnerlyd4czun4aksc', 2, 0);
INSERT INTO changes VALUES ('cloud_materials', 'c57g7u2u7nxpvranfljihbjz', 2, 0);
INSERT INTO changes VALUES ('cloud_materials', 'yjorfzsqti2tjsvqronfou4s', 2, 0);
INSERT INTO changes VALUES ('credentials', 'BETWEEN2TENAND3TENCHARACTERS', 2, 0);
INSERT INTO changes VALUES ('key_sets', 'lassy7ksgh6hlskd7q5bl64g', 2, 0);
INSERT INTO changes VALUES ('key_stores', 'uifzwxd45ebcchszphm4c7qc', 2, 0);
INSERT INTO changes VALUES ('keys', 'key-of-salaries', 2, 0);
INSERT INTO changes VALUES ('roots', 'dumps', 1, 0);
INSERT INTO changes VALUES ('schedules', 'y7u6fybjalbn2lshwehfhjdo', 2, 0);
INSERT INTO changes VALUES ('tenants', 'f65k6r7x3jge3d6rnxynxwcb', 2, 0);
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
INSERT INTO roots VALUES ('dumps', 1, X'4B1FD677EED1F89B9B4AECFFC4D16AD9', 'file', NULL, 1800000000, X'01143DFA969670372F7B7CC5610CCDD7974BCD5037CC6FA9C8FD4C0CCFD896F78D5EBE40F71753C76C333BC35CBEE67740A0901704F09CB8A6C7F224E0');
CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    name TEXT,
    description TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO tenants VALUES ('f65k6r7x3jge3d6rnxynxwcb', 2, X'B0D5DE3295876BF53F5B54E09DA85074', 'Payroll', '');
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
INSERT INTO key_stores VALUES ('uifzwxd45ebcchszphm4c7qc', 2, X'4DF86C44633C39107D99B00077C453AA', 'f65k6r7x3jge3d6rnxynxwcb', 'Payroll', '/payroll', 'eu-central-1 us-east-1', 0, 'y7u6fybjalbn2lshwehfhjdo', NULL, 90);
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
INSERT INTO credentials VALUES ('BETWEEN2TENAND3TENCHARACTERS', 2, X'D7B9A15ACE8C3E41AB910E90B33477E0', 'uifzwxd45ebcchszphm4c7qc', X'01A7A16D7B7B148451511A3C95B61E1B808A97C368AB7AE270AEF5DD4A9B4B034EC98B43BC5E322CB8FCAD31C77D811CF7D53FF47B67858A3544275E40D5547CA831EBACA80E863D9E1C', 1800000000, NULL, 0, 1);
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
INSERT INTO key_sets VALUES ('lassy7ksgh6hlskd7q5bl64g', 2, X'9C5B13D47D652CDB2149F00624B37F36', 'f65k6r7x3jge3d6rnxynxwcb', 'Salaries', '', NULL, 'vault', 'hsm', 'uifzwxd45ebcchszphm4c7qc', 'y7u6fybjalbn2lshwehfhjdo', NULL, 30, 1, 0, NULL);
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
INSERT INTO keys VALUES ('key-of-salaries', 2, X'7E35FA9BF838F775D09C99CA502E15C6', 'lassy7ksgh6hlskd7q5bl64g', 'Salaries 2027', '', 'enabled', NULL, 1831536000, 'ENCRYPT DECRYPT', 'inherited', 1, 1, 1, 'arn:aws:kms:eu-central-1:111122223333:key/1234', NULL);
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
INSERT INTO versions VALUES ('key-of-salaries/00000001', 2, X'8A3D070D679F2A5C9B65512FB53FC46A', 1, 'decrypt-only', 1800000000, 'backend', 'label-in-the-hsm', '03030303030303030303030303030303', NULL, 2147483648, X'76657273696F6E3D31', NULL);
INSERT INTO versions VALUES ('key-of-salaries/00000002', 2, X'184A2B55434ACF688E53F1ADE3B253ED', 2, 'current', 1800000000, 'vault', NULL, NULL, X'015D260749C38BE5F5D18440BC0B0C3E81F3FDDCD1EE452AA515AF93C04EB9E8A9BAF843D06881FE836D8DDAB4361DE916A087ADC2F4A3AA85E99886A3', 0, NULL, NULL);
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
INSERT INTO schedules VALUES ('y7u6fybjalbn2lshwehfhjdo', 2, X'706F24AA60CA34BDC7CF17ADAA07FD89', 'f65k6r7x3jge3d6rnxynxwcb', 'Each quarter', '', NULL, '30 2 1 */3 *', 'Europe/Berlin', 0, 0);
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
INSERT INTO cloud_accounts VALUES ('t3bv647zutp3ajpjftc42lyw', 2, X'1370C1B44C57FAB53EA666153D74D109', 'f65k6r7x3jge3d6rnxynxwcb', 'Main', '', 'eu-central-1', 'access-key', NULL, 'AKIAIOSFODNN7EXAMPLE', X'01214AF13A9F11AD95A69BBB68CE8707FB497726983FAB6143778D28661E77EF28587304E9E5CB0586EF1B09566A6EC5BEC2B6B79F452B891A8982D7F1B88F7D30FDADCF355B4DC0D782', 'AKIAI44QH8DHBEXAMPLE', X'0165CB5A3C81DF0CF114B3B0EE95DBF177648160129D6A01D42320B03C2056F92BDDFC14371659C9B082F4FC411E7E4BBA4E5571863C2564DBC096E49EAE752DE36B97F5A3C3E0072E60', NULL, NULL, NULL, '111122223333');
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
INSERT INTO cloud_key_stores VALUES ('7pfce5da7s2kiw2h24zzmzru', 2, X'C5844EBE3FAB184F42469724FD2A2723', 'f65k6r7x3jge3d6rnxynxwcb', 't3bv647zutp3ajpjftc42lyw', 'eu-central-1', 'payroll-in-aws', 'uifzwxd45ebcchszphm4c7qc', 'https://xks.example.com', 'com.amazonaws.vpce.eu-central-1.vpce-svc-0123456789abcdef0', '111122223333', 'disconnected', 'cks-1234567890abcdef0');
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
, style TEXT, expires INTEGER, disable_former INTEGER, keep_days INTEGER, rotation TEXT, rotation_since INTEGER) STRICT, WITHOUT ROWID;
INSERT INTO cloud_keys VALUES ('dciuxqiuq5iioqdhtxxwwtwn', 2, X'FDE2343B0AB87A21979CE9906BFE8EB1', 'lassy7ksgh6hlskd7q5bl64g', 'alias/imported', '', 't3bv647zutp3ajpjftc42lyw', 'eu-central-1', 'external', NULL, NULL, '{}', '[]', '[]', NULL, 'enabled', NULL, 'arn:aws:kms:eu-central-1:111122223333:key/5678', 0, 'new-key', 1900000000, 0, 60, 'inherited', NULL);
INSERT INTO cloud_keys VALUES ('sl727kdnnerlyd4czun4aksc', 2, X'5A4550E477922AD2647B55BAF1102298', 'lassy7ksgh6hlskd7q5bl64g', 'alias/salaries', '', 't3bv647zutp3ajpjftc42lyw', 'eu-central-1', 'external-key-store', '7pfce5da7s2kiw2h24zzmzru', 'key-of-salaries', '{"team":"payroll"}', '["arn:aws:iam::111122223333:role/admin"]', '[]', NULL, 'deleted', 30, 'arn:aws:kms:eu-central-1:111122223333:key/1234', 0, NULL, NULL, NULL, NULL, NULL, NULL);
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
INSERT INTO cloud_materials VALUES ('c57g7u2u7nxpvranfljihbjz', 2, X'D576178DC3456C055F054324C1ED3AE2', 'dciuxqiuq5iioqdhtxxwwtwn', 1, 1800000000, 'vault', NULL, NULL, X'01B8AFA4C6356437B56CDB8E043C3E96C7BE23815A601601C8C4D6FE8D42E57213D4A0DA2FF0E6777F4B2A9A0160E1530BBF994BCDE63E2969E564C906', 'cacaca', 'fefefefefefefefefefefefefefefefe', NULL, 'arn:aws:kms:eu-central-1:111122223333:key/5678', '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef', 1800000100, 1830000000, 'removed', 'deleted', 30, 1810000000);
INSERT INTO cloud_materials VALUES ('yjorfzsqti2tjsvqronfou4s', 2, X'9381C9B65F2163EF8141149A6207E69F', 'dciuxqiuq5iioqdhtxxwwtwn', 2, 1800000000, 'backend', 'material-in-the-hsm', '05050505050505050505050505050505', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'imported', 'enabled', NULL, NULL);
