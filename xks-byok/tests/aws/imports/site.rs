//! A state with a KMS key whose material is in the store, and what AWS has of it.

use std::collections::BTreeMap;

use kms_double::kms::{
    Builder, Caller,
    api::{DecryptRequest, EncryptRequest},
};
use sha2::{Digest as _, Sha256};
use xks_byok::{
    aws::{KeyMetadata, ListKeyRotationsRequest, PageRequest, RotationsListEntry},
    jobs::{Intent, Job, JobState},
};
use xks_lifecycle::{
    CloudKey, CloudKeyId, CloudKeyOrigin, CloudMaterial, CloudMaterialId, Import, KeySet, KeySetId, KeySource,
    Material, RotationStyle, WantedKey, WantedMaterial,
};

use crate::jobs::site::Site;
pub(super) use crate::jobs::site::alice;

pub(super) const ALIAS: &str = "alias/wages";

pub(super) struct Imports {
    pub(super) site: Site,
    pub(super) key: CloudKeyId,
}

impl Imports {
    /// A key of this style, with its first material, which no job has worked on.
    pub(super) async fn new(style: RotationStyle) -> Self {
        Self::with(style, |builder| builder).await
    }

    pub(super) async fn with(style: RotationStyle, change: impl FnOnce(Builder) -> Builder) -> Self {
        let imports = Self::without_material(style, change).await;
        imports.rotate().await;
        imports
    }

    pub(super) async fn without_material(style: RotationStyle, change: impl FnOnce(Builder) -> Builder) -> Self {
        let site = Site::with(change).await;
        let (set, account) = site.commands.read(|state| {
            let key = state.cloud_key(site.cloud_key).unwrap();
            (key.key_set, (**state.cloud_account(key.account).unwrap()).clone())
        });
        let key = CloudKeyId::generate().unwrap();
        let origin = CloudKeyOrigin::External(Import::new(style));
        let cloud_key = CloudKey::new(key, set, &account, ALIAS.parse().unwrap(), origin).unwrap();
        site.commands.create(&alice(), cloud_key).await.unwrap();
        Self { site, key }
    }

    pub(super) fn intent(&self) -> Intent {
        Intent::CloudKey(self.key)
    }

    /// The same in a key set whose material comes from the HSM of the [`Site`].
    pub(super) async fn of_hsm(style: RotationStyle) -> Self {
        let mut imports = Self::without_material(style, |builder| builder).await;
        let commands = &imports.site.commands;
        let mut key = imports.cloud_key().await;
        let tenant = commands.read(|state| state.key_set(key.key_set).unwrap().tenant);
        let set = KeySet::new(KeySetId::generate().unwrap(), tenant, "HSM", KeySource::Hsm).unwrap();
        commands.remove::<CloudKey>(&alice(), key.id, None).await.unwrap();
        (key.id, key.key_set) = (CloudKeyId::generate().unwrap(), set.id);
        commands.create(&alice(), set).await.unwrap();
        imports.key = key.id;
        commands.create_import(&alice(), key).await.unwrap();
        imports
    }

    /// Asks for another material; a job brings it to AWS.
    pub(super) async fn rotate(&self) {
        self.site.commands.refresh().await.unwrap();
        self.site.commands.add_material(&alice(), self.key).await.unwrap();
    }

    pub(super) async fn run(&self) -> Job {
        self.site.run(self.intent()).await
    }

    /// Runs a job to its end.
    pub(super) async fn done(&self) -> Job {
        let job = self.run().await;
        assert_eq!(job.state, JobState::Done, "{job:#?}");
        job
    }

    /// Runs a job that asks something.
    pub(super) async fn asked(&self, words: &str) -> Job {
        let job = self.run().await;
        assert!(
            matches!(&job.state, JobState::Blocked { question } if question.contains(words)),
            "{words}: {job:#?}"
        );
        job
    }

    pub(super) async fn want(&self, change: impl FnOnce(&mut CloudKey)) {
        let mut wanted = self.cloud_key().await;
        change(&mut wanted);
        self.site.commands.update(&alice(), wanted, None).await.unwrap();
    }

    pub(super) async fn want_import(&self, change: impl FnOnce(&mut Import)) {
        self.want(|key| match &mut key.origin {
            CloudKeyOrigin::External(import) => change(import),
            other => panic!("{other:?}"),
        })
        .await;
    }

    pub(super) async fn cloud_key(&self) -> CloudKey {
        let commands = &self.site.commands;
        commands.refresh().await.unwrap();
        commands.read(|state| (**state.cloud_key(self.key).unwrap()).clone())
    }

    pub(super) async fn materials(&self) -> Vec<CloudMaterial> {
        let commands = &self.site.commands;
        commands.refresh().await.unwrap();
        commands.read(|state| state.materials_of(self.key).map(|entry| (**entry).clone()).collect())
    }

    pub(super) async fn material(&self, number: u32) -> CloudMaterial {
        let mut materials = self.materials().await.into_iter();
        materials.find(|material| material.number == number).unwrap()
    }

    async fn edit(&self, number: u32, edit: impl FnOnce(&mut CloudMaterial)) -> CloudMaterialId {
        let mut material = self.material(number).await;
        edit(&mut material);
        let id = material.id;
        self.site
            .commands
            .update_material(&alice(), material, None)
            .await
            .unwrap();
        id
    }

    pub(super) async fn want_material(&self, number: u32, wanted: WantedMaterial) -> CloudMaterialId {
        self.edit(number, |material| material.wanted = wanted).await
    }

    pub(super) async fn want_former(&self, number: u32, former: WantedKey) -> CloudMaterialId {
        self.edit(number, |material| material.former = former).await
    }

    /// As a person says it.
    pub(super) async fn keep_former(&self, number: u32, former: WantedKey) -> CloudMaterialId {
        let said = |material: &mut CloudMaterial| (material.former, material.kept_until) = (former, None);
        self.edit(number, said).await
    }

    pub(super) async fn describe(&self, key: &str) -> KeyMetadata {
        self.site.client().await.describe_key(key).await.unwrap()
    }

    /// The state of the KMS key of a material.
    pub(super) async fn state(&self, number: u32) -> String {
        let key = self.material(number).await.kms_key.unwrap().to_string();
        self.describe(&key).await.key_state.to_string()
    }

    pub(super) async fn entries(&self, key: &str) -> Vec<RotationsListEntry> {
        let request = ListKeyRotationsRequest::all(key, PageRequest::first());
        self.site
            .client()
            .await
            .list_key_rotations(request)
            .await
            .unwrap()
            .items
    }

    fn caller() -> Caller {
        Caller::new("arn:aws:iam::111122223333:user/app")
    }

    pub(super) async fn encrypt(&self, key: &str, plaintext: &[u8]) -> Vec<u8> {
        let request = EncryptRequest::new(key, plaintext);
        let answer = self.site.kms.encrypt(&Self::caller(), request).await.unwrap();
        answer.ciphertext_blob.to_vec()
    }

    pub(super) async fn decrypt(&self, blob: &[u8]) -> Result<Vec<u8>, String> {
        let request = DecryptRequest::new(blob);
        let answer = self.site.kms.decrypt(&Self::caller(), request).await;
        answer
            .map(|answer| answer.plaintext.to_vec())
            .map_err(|error| error.to_string())
    }

    /// Each material that AWS shall have is there with exactly the bytes that are here; the alias leads to
    /// the KMS key of the newest, no other KMS key was made, and nothing is left to do.
    pub(super) async fn assert_whole(&self, when: &str) {
        self.site.kms.faults().clear();
        self.site.wait(600);
        let materials = self.materials().await;
        let mut keys = BTreeMap::new();
        for material in &materials {
            let Some(key) = &material.kms_key else {
                panic!("{when}: material {} has no KMS key", material.number)
            };
            let key = key.to_string();
            let Material::Vault(bytes) = &material.material else {
                panic!("{when}: {material:?}")
            };
            // kms-double computes the id from the key's id and the bytes that it has unwrapped.
            let mut hash = Sha256::new_with_prefix(b"key material of ");
            hash.update(key.rsplit('/').next().unwrap());
            hash.update(&bytes[..]);
            let id: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(material.kms_material.unwrap().to_string(), id, "{when}: {material:?}");
            let entries = self.entries(&key).await;
            let entry = entries.iter().find(|entry| entry.key_material_id.as_ref() == Some(&id));
            let entry = entry.unwrap_or_else(|| panic!("{when}: {entries:#?}"));
            let is_imported = entry.import_state.as_ref().unwrap().as_str() == "IMPORTED";
            assert_eq!(is_imported, material.wanted == WantedMaterial::Imported, "{when}");
            *keys.entry(key).or_insert(0) += 1;
        }
        for (key, count) in &keys {
            assert_eq!(self.entries(key).await.len(), *count, "{when}: other material in {key}");
        }
        let listed = self.site.keys().await;
        let unknown = listed.iter().filter(|entry| !keys.contains_key(&entry.key_arn)).count();
        assert_eq!((listed.len(), unknown), (keys.len(), 0), "{when}: {listed:#?}");
        let newest = materials.last().unwrap().kms_key.clone();
        assert_eq!(self.cloud_key().await.kms_key, newest, "{when}");
        let target = self.site.aliases().await.remove(ALIAS).flatten();
        let newest = newest.unwrap().to_string();
        assert_eq!(target.as_deref(), newest.rsplit('/').next(), "{when}");
        for material in materials.iter().rev().skip(1) {
            assert!(material.retired.is_some(), "{when}: {material:?}");
        }
        let preview = self.site.jobs().await.preview(self.intent()).await.unwrap();
        assert!(
            preview.plan.is_done() && preview.plan.drift.is_empty(),
            "{when}: {preview:#?}"
        );
    }
}
