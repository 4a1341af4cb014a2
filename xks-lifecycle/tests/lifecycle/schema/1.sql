PRAGMA application_id = 1481331532;
PRAGMA user_version = 1;
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    code BLOB NOT NULL
) STRICT;
INSERT INTO head VALUES (1, 2, X'41B97AC6B0BB51E0ACA81634DA7BE84867524BCF2FF60EFF620E78DDB0B1E2C7');
CREATE TABLE changes (
    table_name TEXT NOT NULL,
    row_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    is_removed INTEGER NOT NULL,
    PRIMARY KEY (table_name, row_id)
) STRICT, WITHOUT ROWID;
INSERT INTO changes VALUES ('credentials', 'BETWEEN2TENAND3TENCHARACTERS', 2, 0);
INSERT INTO changes VALUES ('key_sets', 'wgx4jmj3gqtqbwmmvu6ngzbd', 2, 0);
INSERT INTO changes VALUES ('key_stores', 'mi6xpzhaea4gpoxcnz4gecrj', 2, 0);
INSERT INTO changes VALUES ('keys', 'key-of-salaries', 2, 0);
INSERT INTO changes VALUES ('roots', 'dumps', 1, 0);
INSERT INTO changes VALUES ('tenants', 'y2sbycvcqt6jpogpvamupsv6', 2, 0);
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
INSERT INTO roots VALUES ('dumps', 1, X'902C550B77844C2DFF92636D43A9501D', 'file', NULL, 1800000000, X'011AF6DC864DE4E96B4E570C3CA1DCC384EB756EDC32FCF23AC5D52561A9FC9D70A00FE63E38B32E79330F5463ED1F6607B5142DFAC9727A17E03D1208');
CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    code BLOB NOT NULL,
    name TEXT,
    description TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO tenants VALUES ('y2sbycvcqt6jpogpvamupsv6', 2, X'E6ED1A1E257019F4F69BF467763DB7E7', 'Payroll', '');
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
INSERT INTO key_stores VALUES ('mi6xpzhaea4gpoxcnz4gecrj', 2, X'9FF2A11A294153262E45BD40223051A0', 'y2sbycvcqt6jpogpvamupsv6', 'Payroll', '/payroll', 'eu-central-1 us-east-1', 0);
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
INSERT INTO credentials VALUES ('BETWEEN2TENAND3TENCHARACTERS', 2, X'A3F83C6A4AA4C754D841A9E5C79EA3FE', 'mi6xpzhaea4gpoxcnz4gecrj', X'01F2EB6C89FA24C394691189B7EB2F08765A9B0BC06C860FB34B0106F2B1BBB12AAA6A12127D3E6C77E1772E4E5263412F67E7C1137C910B4DA60413D7AEE2FD0077B0E4CDCE72F6E000', 1800000000, NULL, 0);
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
INSERT INTO key_sets VALUES ('wgx4jmj3gqtqbwmmvu6ngzbd', 2, X'E297F8C82F42D25D05766DC12CD33103', 'y2sbycvcqt6jpogpvamupsv6', 'Salaries', '', NULL, 'vault', 'hsm', 'mi6xpzhaea4gpoxcnz4gecrj', NULL, NULL, 30, 1, 0);
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
INSERT INTO keys VALUES ('key-of-salaries', 2, X'C7EA42C48FF76C454923569BE31D0360', 'wgx4jmj3gqtqbwmmvu6ngzbd', 'Salaries 2027', '', 'enabled', NULL, 1831536000, 'ENCRYPT DECRYPT', 'inherited', 1, 1, 1, 'arn:aws:kms:eu-central-1:111122223333:key/1234');
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
INSERT INTO versions VALUES ('key-of-salaries/00000001', 2, X'8F43FEDB0513D838A02CED89761CC309', 1, 'decrypt-only', 1800000000, 'backend', 'label-in-the-hsm', '03030303030303030303030303030303', NULL, 2147483648, X'76657273696F6E3D31');
INSERT INTO versions VALUES ('key-of-salaries/00000002', 2, X'0C31A2485041914D521F9A0AAEF3C7B0', 2, 'current', 1800000000, 'vault', NULL, NULL, X'012E5A13018A54334756B242143B282D7F3BDACDDEC771299A0B22C89B0FAE488F990A73A647D02F7D3C7CB1725E0EC99350DD89EFBDC5BC2A5A0ABFF8', 0, NULL);
