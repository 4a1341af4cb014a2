-- When the credential of an external key store rotates, and whether somebody has its secret.
ALTER TABLE key_stores ADD COLUMN schedule TEXT;
ALTER TABLE key_stores ADD COLUMN schedule_since INTEGER;
ALTER TABLE key_stores ADD COLUMN overlap_minutes INTEGER;
ALTER TABLE credentials ADD COLUMN is_untaken INTEGER;
