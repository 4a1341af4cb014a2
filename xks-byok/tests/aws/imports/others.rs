//! What others do meanwhile in AWS, and each step done twice.

use std::sync::Arc;

use xks_byok::{
    apply::{Effect, Target, Wrapper, apply},
    aws::{
        CreateKeyRequest, GetParametersForImportRequest, ImportKeyMaterialRequest, ImportType, WrappingAlgorithm,
        WrappingKeySpec,
    },
    caller::Caller,
    jobs::{Intent, JobState},
    observe::observe,
    plan::{Action, Context, Desired, plan},
    quota::Quotas,
};
use xks_core::{async_trait, manage};
use xks_lifecycle::{CommandError, RotationStyle, WantedKey, WantedMaterial, commands::Commands};

use xks_test_aws::suite::wrapped;

use super::site::{ALIAS, Imports, alice};
use crate::jobs::site::{TAG, TestTimer};

/// Somebody imports material of their own into a KMS key, and rotates to it perhaps.
async fn import_by_hand(imports: &Imports, arn: &str, is_rotated: bool) {
    let client = imports.site.client().await;
    let request = GetParametersForImportRequest::new(arn, WrappingAlgorithm::RsaesOaepSha256, WrappingKeySpec::Rsa4096);
    let parameters = client.get_parameters_for_import(request).await.unwrap();
    let (mut bytes, count) = ([7; 32], imports.entries(arn).await.len());
    bytes[0] = u8::try_from(count).unwrap();
    let wrapped = wrapped(&parameters.public_key, bytes);
    let mut request = ImportKeyMaterialRequest::new(arn, parameters.import_token, wrapped);
    request.import_type = Some(ImportType::New);
    client.import_key_material(request).await.unwrap();
    if is_rotated {
        client.rotate_key_on_demand(arn).await.unwrap();
    }
    imports.site.wait(60);
}

/// It is asked about; nothing of theirs is deleted or replaced.
#[tokio::test]
async fn material_that_others_import_is_never_replaced() {
    // Into a key in place: theirs encrypts, until a rotation is asked for.
    let imports = Imports::new(RotationStyle::InPlace).await;
    imports.done().await;
    let arn = imports.material(1).await.kms_key.unwrap().to_string();
    import_by_hand(&imports, &arn, true).await;
    imports.asked("AWS encrypts with another material").await;
    let theirs = imports.encrypt(ALIAS, b"theirs").await;
    let jobs = imports.site.jobs().await;
    let id = jobs.list().await.unwrap()[0].id.unwrap();
    imports.rotate().await;
    jobs.retry(&alice(), id).await.unwrap();
    assert_eq!(imports.site.finish(&jobs, id).await.state, JobState::Done);
    assert_eq!(imports.decrypt(&theirs).await.unwrap(), b"theirs");
    assert_eq!(imports.entries(&arn).await.len(), 3);
    // One of theirs that waits for a rotation: AWS takes no other one meanwhile.
    import_by_hand(&imports, &arn, false).await;
    imports.done().await;
    imports.rotate().await;
    let job = imports.asked("waits for a rotation").await;
    assert_eq!(job.calls.get("GetParametersForImport"), None);
    // Into a key that was made for ours, before ours came.
    let imports = Imports::new(RotationStyle::NewKey).await;
    imports.site.kms.faults().deny("GetParametersForImport");
    let job = imports.asked("GetParametersForImport").await;
    imports.site.kms.faults().allow("GetParametersForImport");
    let arn = imports.material(1).await.kms_key.unwrap().to_string();
    import_by_hand(&imports, &arn, false).await;
    let jobs = imports.site.jobs().await;
    jobs.retry(&alice(), job.id.unwrap()).await.unwrap();
    let job = imports.site.finish(&jobs, job.id.unwrap()).await;
    let JobState::Blocked { question } = &job.state else {
        panic!("{job:#?}")
    };
    assert!(question.contains("other material into it"), "{question}");
    imports.want_material(1, WantedMaterial::Removed).await;
    imports.rotate().await;
    jobs.retry(&alice(), job.id.unwrap()).await.unwrap();
    let job = imports.site.finish(&jobs, job.id.unwrap()).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
    assert_ne!(imports.describe(ALIAS).await.arn, arn);
}

/// Deleted, or with the alias moved away.
#[tokio::test]
async fn a_key_that_others_delete_or_rename_is_asked_about() {
    let imports = Imports::new(RotationStyle::NewKey).await;
    imports.done().await;
    let client = imports.site.client().await;
    let other = client.create_key(CreateKeyRequest::external()).await.unwrap();
    client.update_alias(ALIAS, &other.key_id).await.unwrap();
    imports.site.wait(60);
    let job = imports.asked(&other.key_id).await;
    imports
        .site
        .jobs()
        .await
        .cancel(&alice(), job.id.unwrap())
        .await
        .unwrap();
    client.delete_alias(ALIAS).await.unwrap();
    imports.site.wait(60);
    imports.done().await;
    // Its material is deleted by hand: it comes back, as it is wanted.
    let arn = imports.material(1).await.kms_key.unwrap().to_string();
    let blob = imports.encrypt(ALIAS, b"secret").await;
    client.delete_imported_key_material(&arn, None).await.unwrap();
    imports.site.wait(60);
    imports.done().await;
    assert_eq!(imports.decrypt(&blob).await.unwrap(), b"secret");
    client.schedule_key_deletion(&arn, 7).await.unwrap();
    imports.site.wait(60);
    imports.want(|key| key.wanted = WantedKey::Disabled).await;
    imports.done().await;
    assert_eq!(imports.state(1).await, "Disabled");
    client.schedule_key_deletion(&arn, 7).await.unwrap();
    imports.site.wait(8 * 24 * 3600);
    imports.asked("was deleted in AWS").await;
}

struct Materials(Arc<Commands>);

#[async_trait]
impl Wrapper for Materials {
    async fn algorithms(&self, material: &str) -> Result<Vec<manage::WrappingAlgorithm>, CommandError> {
        self.0.wrappings_of(material.parse()?).await
    }

    async fn wrap(&self, material: &str, key: &manage::WrappingKey) -> Result<Vec<u8>, CommandError> {
        self.0.wrap_material(&alice(), material.parse()?, key).await
    }
}

/// Each step is done twice: the second time it is refused, or changes nothing.
#[tokio::test]
async fn each_step_can_be_done_twice() {
    for style in [RotationStyle::NewKey, RotationStyle::InPlace] {
        let imports = Imports::new(style).await;
        let timer = Arc::new(TestTimer::new(&imports.site.kms));
        let commands = Arc::clone(&imports.site.commands);
        let caller = Caller::new(
            imports.site.client().await,
            Arc::new(Quotas::new(Arc::clone(&commands), timer)),
            "account/region",
        );
        let mut twice = 0;
        // The number of the account is known after the first look.
        imports.site.jobs().await.preview(imports.intent()).await.unwrap();
        for _ in 0..30 {
            commands.refresh().await.unwrap();
            let now = commands.now();
            let desired = commands.read(|state| Desired::key(state, imports.key, now)).unwrap();
            let observed = observe(&caller, &desired).await.unwrap();
            let plan = plan(&desired, &observed, &Context::default());
            let Some(step) = plan.steps.first() else {
                assert!(plan.is_done(), "{plan:?}");
                if imports.materials().await.len() == 3 {
                    break;
                }
                imports.rotate().await;
                continue;
            };
            let Desired::Import(wanted) = &desired else { panic!() };
            let mut target = Target::default();
            target.id = wanted.candidate().map(str::to_owned);
            target.operation_tag = TAG.to_owned();
            target.wrapper = Some(Arc::new(Materials(Arc::clone(&commands))));
            let effect = apply(&caller, &step.action, &target).await.unwrap();
            if !step.action.creates() {
                let _second = apply(&caller, &step.action, &target).await;
                twice += 1;
            }
            keep(&imports, &step.action, target.id.as_deref(), effect).await;
        }
        println!("{style:?}: {twice} steps twice");
        imports.assert_whole("twice").await;
        assert_eq!(imports.site.run(imports.intent()).await.plans[0].steps.len(), 0);
        assert!(matches!(imports.intent(), Intent::CloudKey(_)));
    }
}

/// Twice as well.
async fn keep(imports: &Imports, action: &Action, target: Option<&str>, effect: Effect) {
    let commands = &imports.site.commands;
    let arn = |arn: &str| arn.parse().unwrap();
    for _ in 0..2 {
        match (&effect, action) {
            (Effect::Key(key), Action::CreateImportKey { operation, .. }) => {
                let id = operation.parse().unwrap();
                commands.note_kms_key(&alice(), id, &arn(&key.arn)).await.unwrap();
            }
            (Effect::Material(id), Action::ImportMaterial { material, .. }) => {
                let (material, id) = (material.parse().unwrap(), id.as_ref().map(|id| id.parse().unwrap()));
                let key = arn(target.unwrap());
                commands.note_import(&alice(), material, &key, id, None).await.unwrap();
            }
            (_, Action::MakeMaterial { material, .. }) => {
                commands
                    .make_material(&alice(), material.parse().unwrap())
                    .await
                    .unwrap();
            }
            (_, Action::NoteCurrent { number }) => {
                let key = arn(target.unwrap());
                commands
                    .note_current(&alice(), imports.key, *number, &key)
                    .await
                    .unwrap();
            }
            _ => {}
        }
    }
}
