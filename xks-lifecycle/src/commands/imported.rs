//! What AWS has of material, noted by jobs: the KMS key, the import, and which material is the current one.

use super::{Actor, Call, Commands, Decided};
use crate::{
    Changes, CloudKeyId, CloudMaterial, CloudMaterialId, CommandError, Event, EventText, KmsKeyArn, KmsMaterialId,
    Object, Outcome, Timestamp, WantedKey,
    store::{Revision, Table},
};

impl Commands {
    /// Notes which KMS key was made for a material. Returns the revision.
    ///
    /// # Errors
    /// [`CommandError`]: it is not there, or the store failed.
    pub async fn note_kms_key(
        &self,
        actor: &Actor,
        id: CloudMaterialId,
        kms_key: &KmsKeyArn,
    ) -> Result<Revision, CommandError> {
        let noted = |material: &CloudMaterial, _| CloudMaterial {
            kms_key: Some(kms_key.clone()),
            ..material.clone()
        };
        self.note_material(actor, id, "note", noted).await
    }

    /// Notes that a material was imported into a KMS key, under which id and until when. Returns the
    /// revision.
    ///
    /// # Errors
    /// [`CommandError`]: it is not there, has another id in this KMS key, or the store failed.
    pub async fn note_import(
        &self,
        actor: &Actor,
        id: CloudMaterialId,
        kms_key: &KmsKeyArn,
        kms_material: Option<KmsMaterialId>,
        valid_to: Option<Timestamp>,
    ) -> Result<Revision, CommandError> {
        let noted = |material: &CloudMaterial, now| CloudMaterial {
            kms_key: Some(kms_key.clone()),
            kms_material: kms_material.or(material.kms_material),
            imported: Some(now),
            valid_to,
            ..material.clone()
        };
        self.note_material(actor, id, "note", noted).await
    }

    /// Wants the KMS key of a former material disabled, if it [is kept](CloudMaterial::is_kept_no_longer) no
    /// longer. Otherwise nothing is changed: what a person has said meanwhile stays. Returns the revision.
    ///
    /// # Errors
    /// [`CommandError`]: it is not there, or the store failed.
    pub async fn disable_former(&self, actor: &Actor, id: CloudMaterialId) -> Result<Revision, CommandError> {
        let disabled = |material: &CloudMaterial, now| {
            let mut disabled = material.clone();
            if material.is_kept_no_longer(now) {
                disabled.want_former(WantedKey::Disabled);
            }
            disabled
        };
        self.note_material(actor, id, "disable-former", disabled).await
    }

    /// Keeps the KMS key of a former material enabled, which was to be disabled when its days were over: a
    /// person does not want that. One that is wanted disabled already stays so. Returns the revision.
    ///
    /// # Errors
    /// [`CommandError`]: it is not there, or the store failed.
    pub async fn keep_former(&self, actor: &Actor, id: CloudMaterialId) -> Result<Revision, CommandError> {
        let kept = |material: &CloudMaterial, _| {
            let mut kept = material.clone();
            if material.former == WantedKey::Enabled {
                kept.want_former(WantedKey::Enabled);
            }
            kept
        };
        self.note_material(actor, id, "keep-former", kept).await
    }

    async fn note_material(
        &self,
        actor: &Actor,
        id: CloudMaterialId,
        command: &'static str,
        edit: impl Fn(&CloudMaterial, Timestamp) -> CloudMaterial + Send + Sync,
    ) -> Result<Revision, CommandError> {
        let object = Object::new(Table::CloudMaterials, &id);
        let call = Call::new(actor, command, &object);
        let work = self.commit(actor, |snapshot, now| {
            let found = snapshot.cloud_material(id);
            let found = found.ok_or_else(|| CommandError::Unknown(object.clone()))?;
            let noted = edit(found, now);
            if noted == **found {
                return Ok(Decided::nothing(found.revision()));
            }
            let event = Event {
                before: EventText::json(&**found),
                after: EventText::json(&noted),
                ..call.event(now, Outcome::Done)
            };
            let changes = Changes::new().update(noted).event(event);
            Ok(Decided::change(changes, snapshot.revision().next()))
        });
        self.recorded(&call, work).await
    }

    /// Notes to which KMS key the alias of a cloud key leads, and that the materials before this number are
    /// former ones. Returns the revision.
    ///
    /// # Errors
    /// [`CommandError`]: it is not there, or the store failed.
    pub async fn note_current(
        &self,
        actor: &Actor,
        id: CloudKeyId,
        number: u32,
        kms_key: &KmsKeyArn,
    ) -> Result<Revision, CommandError> {
        let object = Object::new(Table::CloudKeys, &id);
        let call = Call::new(actor, "note", &object);
        let work = self.commit(actor, |snapshot, now| {
            let found = snapshot.cloud_key(id);
            let found = found.ok_or_else(|| CommandError::Unknown(object.clone()))?;
            let mut noted = (**found).clone();
            noted.is_adopted &= noted.kms_key.as_ref() == Some(kms_key);
            noted.kms_key = Some(kms_key.clone());
            let disables = noted.import().is_some_and(|import| import.disable_former);
            let keep_days = noted.import().and_then(|import| import.keep_days);
            let kept_until = keep_days.map(|days| now.plus_days(days.get()));
            let formers = snapshot.materials_of(id);
            let formers = formers.filter(|material| material.number < number && material.retired.is_none());
            let formers = formers.map(|material| CloudMaterial {
                retired: Some(now),
                // So that a later job about it does not enable its KMS key again.
                former: match material.former {
                    WantedKey::Enabled if disables => WantedKey::Disabled,
                    former => former,
                },
                kept_until: kept_until.filter(|_| material.kms_key.is_some() && material.former == WantedKey::Enabled),
                ..(**material).clone()
            });
            let formers: Vec<_> = formers.collect();
            if noted == **found && formers.is_empty() {
                return Ok(Decided::nothing(found.revision()));
            }
            let event = Event {
                before: EventText::json(&**found),
                after: EventText::json(&noted),
                ..call.event(now, Outcome::Done)
            };
            let mut changes = Changes::new().event(event);
            if noted != **found {
                changes = changes.update(noted);
            }
            let changes = formers.into_iter().fold(changes, Changes::update);
            Ok(Decided::change(changes, snapshot.revision().next()))
        });
        self.recorded(&call, work).await
    }
}
