-- When imported keys rotate only near the end of their material, and until when a former KMS key is kept.
ALTER TABLE cloud_keys ADD COLUMN ending_within_days INTEGER;
ALTER TABLE cloud_materials ADD COLUMN kept_until INTEGER;
