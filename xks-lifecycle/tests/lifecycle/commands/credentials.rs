//! The credentials of an external key store, as a proxy verifies requests with them.

use std::{sync::Arc, time::SystemTime};

use pollster::block_on;
use xks_core::{Credential, KeyStore, KeyStores, Proxy, testkit::Client};
use xks_lifecycle::{
    CommandError, ExternalKeyStore, KeyStoreId, Managed, ManagedCredentials, OverlapMinutes, Regions,
    commands::{Commands, CredentialRefused, NewCredential},
    key_state::KeyCommand,
};

use super::world::{World, alice};

const REGION: &str = "eu-central-1";
const PREFIX: &str = "/store";
const HOUR: u64 = 60 * 60;

/// A world with an external key store, which a proxy serves.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) id: KeyStoreId,
    proxy: Proxy,
}

fn proxy(commands: &Commands, id: KeyStoreId) -> Proxy {
    let managed = Arc::new(Managed::new(commands, id));
    let key_store = KeyStore::builder(PREFIX.parse().unwrap(), managed)
        .region(REGION.parse().unwrap())
        .credentials_from(ManagedCredentials::new(commands, id))
        .all_keys_of_backend()
        .build();
    Proxy::new(KeyStores::new([key_store.unwrap()]).unwrap())
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::over(World::new())
    }

    pub(crate) fn over(world: World) -> Self {
        let (id, regions) = (KeyStoreId::generate().unwrap(), Regions::new([REGION]).unwrap());
        let store = ExternalKeyStore::new(id, world.tenant, "Store", PREFIX.parse().unwrap(), regions).unwrap();
        block_on(world.commands.create(alice(), store)).unwrap();
        let proxy = proxy(&world.commands, id);
        Self { world, id, proxy }
    }

    pub(crate) fn create(&self, given: Option<Credential>) -> Result<NewCredential, CommandError> {
        block_on(self.world.commands.create_credential(alice(), self.id, given))
    }

    pub(crate) fn rotate(&self, minutes: u64) -> Result<NewCredential, CommandError> {
        let overlap = OverlapMinutes::new(minutes).unwrap();
        block_on(self.world.commands.rotate_credential(alice(), self.id, overlap))
    }

    pub(crate) fn revoke(&self, credential: &NewCredential) {
        let id = &credential.credential.access_key_id;
        block_on(self.world.commands.revoke_credential(alice(), id)).unwrap();
    }

    /// Whether a request that is signed with it is served.
    pub(crate) fn is_served(&self, new: &NewCredential) -> bool {
        let credential = Credential::new(&new.credential.access_key_id, new.secret().expose().to_owned()).unwrap();
        is_served(&self.proxy, credential)
    }
}

fn is_served(proxy: &Proxy, credential: Credential) -> bool {
    let client = Client::new(proxy, PREFIX.parse().unwrap(), credential, REGION.parse().unwrap());
    let answer = block_on(client.metadata("absent"));
    match answer.error_name() {
        Some("AuthenticationFailedException") => false,
        Some("KeyNotFoundException") => true,
        _ => panic!("{answer:?}"),
    }
}

fn given(letter: &str) -> Credential {
    Credential::new(letter.repeat(20), "s".repeat(43)).unwrap()
}

#[test]
fn a_key_store_has_two_live_credentials_at_most_and_one_that_is_revoked_is_refused_at_once() {
    let site = Site::new();
    assert!(!is_served(&site.proxy, given("A")));
    let generated = site.create(None).unwrap();
    assert_eq!(generated.credential.access_key_id.as_str().len(), 26);
    let other = site.create(Some(given("A"))).unwrap();
    assert!(site.is_served(&generated) && site.is_served(&other));
    for refused in [site.create(None).unwrap_err(), site.rotate(60).unwrap_err()] {
        let CommandError::Credential(CredentialRefused::TwoLive { .. }) = &refused else {
            panic!("{refused}")
        };
        for live in [&generated, &other] {
            assert!(
                refused.to_string().contains(live.credential.access_key_id.as_str()),
                "{refused}"
            );
        }
    }
    site.revoke(&other);
    assert!(site.is_served(&generated) && !site.is_served(&other));
    site.revoke(&other); // as it is
    // Its id is not given again, whatever the secret.
    let again = site.create(Some(given("A"))).unwrap_err();
    assert_eq!(
        again.to_string(),
        format!("credentials/{} exists already", "A".repeat(20))
    );
    site.revoke(&generated);
    assert!(!site.is_served(&generated));
    let refused = site.rotate(60).unwrap_err();
    assert!(
        refused.to_string().contains("has no live credential to rotate"),
        "{refused}"
    );
    let told = [
        "create done",
        "create done",
        "create done",
        "create refused",
        "rotate-credential refused",
        "revoke done",
        "revoke done",
        "create refused",
        "revoke done",
        "rotate-credential refused",
    ];
    assert_eq!(site.world.told(), told);
}

#[test]
fn a_rotated_credential_ends_after_the_overlap() {
    let site = Site::new();
    let first = site.create(None).unwrap();
    let second = site.rotate(60).unwrap();
    assert!(site.is_served(&first) && site.is_served(&second));
    site.world.wait_seconds(HOUR - 1);
    assert!(site.is_served(&first));
    site.world.wait_seconds(1);
    assert!(!site.is_served(&first) && site.is_served(&second));
    // Without an overlap it ends at once; one that has ended makes room.
    let third = site.rotate(0).unwrap();
    let entries = block_on(site.world.commands.credentials(site.id)).unwrap();
    let revoked = entries.iter().map(|entry| entry.credential.is_revoked);
    assert_eq!(revoked.filter(|is_revoked| *is_revoked).count(), 1, "{entries:?}");
    assert!(!site.is_served(&second) && site.is_served(&third));
    // One that ends already does not end later.
    let fourth = site.rotate(60).unwrap();
    site.revoke(&fourth);
    site.rotate(43_200).unwrap();
    site.world.wait_seconds(HOUR);
    assert!(!site.is_served(&third));
    let credentials = block_on(site.world.commands.credentials(site.id)).unwrap();
    assert_eq!(credentials.len(), 5);
    let live: Vec<_> = credentials.iter().filter(|entry| entry.is_live).collect();
    assert_eq!(live.len(), 1);
    // Another process has the same.
    let other = site.world.another();
    let proxy = proxy(&other, site.id);
    for (credential, is_live) in [(&first, false), (&third, false), (&fourth, false)] {
        let secret = credential.secret().expose().to_owned();
        let credential = Credential::new(&credential.credential.access_key_id, secret).unwrap();
        assert_eq!(is_served(&proxy, credential), is_live);
    }
}

#[test]
fn a_secret_is_in_the_answer_of_the_command_that_made_it_and_nowhere_else() {
    let site = Site::new();
    let (first, second) = (site.create(None).unwrap(), site.rotate(60).unwrap());
    site.revoke(&first);
    let entries = block_on(site.world.commands.credentials(site.id)).unwrap();
    for new in [&first, &second] {
        let (id, secret) = (new.credential.access_key_id.as_str(), new.secret().expose());
        let json: serde_json::Value = serde_json::from_str(&new.console_json()).unwrap();
        assert_eq!(json["XksProxyUriPath"], "/store/kms/xks/v1");
        let credential = &json["XksProxyAuthenticationCredential"];
        assert_eq!(
            (&credential["AccessKeyId"], &credential["RawSecretAccessKey"]),
            (&id.into(), &secret.into())
        );
        let texts = [
            format!("{new:?}"),
            format!("{entries:?}"),
            serde_json::to_string(&entries).unwrap(),
            serde_json::to_string(&new.credential).unwrap(),
            format!("{:?}", site.world.events()),
        ];
        for text in texts {
            assert!(text.contains(id) && !text.contains(secret), "{text}");
        }
    }
    // What each event changes is in it.
    let events = site.world.events();
    let json = |text: &Option<xks_lifecycle::EventText>| -> serde_json::Value {
        serde_json::from_str(text.as_ref().unwrap().as_str()).unwrap()
    };
    let [_, created, rotated, revoked] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(created.before.is_none());
    let (first, second) = (
        first.credential.access_key_id.as_str(),
        second.credential.access_key_id.as_str(),
    );
    assert_eq!(rotated.object.to_string(), format!("key-stores/{}", site.id));
    assert_eq!(json(&rotated.before)[0]["access_key_id"], first);
    assert_eq!(json(&rotated.after)[0]["access_key_id"], second);
    assert!(json(&rotated.before)[0]["expires"].is_null() && !json(&rotated.after)[1]["expires"].is_null());
    assert_eq!(
        (
            &json(&revoked.before)[0]["is_revoked"],
            &json(&revoked.after)[0]["is_revoked"]
        ),
        (&false.into(), &true.into())
    );
}

/// What a process notes is seen by the others, and the last one counts.
#[test]
fn the_last_use_of_a_credential_is_known_and_kept() {
    let site = Site::new();
    let (used, unused) = (site.create(None).unwrap(), site.create(None).unwrap());
    let start = xks_lifecycle::Timestamp::from(SystemTime::now());
    let uses = |commands: &Commands| {
        let entries = block_on(commands.credentials(site.id)).unwrap();
        let of = |new: &NewCredential| {
            let id = &new.credential.access_key_id;
            let mut entries = entries.iter();
            entries
                .find(|entry| entry.credential.access_key_id == *id)
                .unwrap()
                .last_used
        };
        (of(&used), of(&unused))
    };
    assert_eq!(uses(&site.world.commands), (None, None));
    assert!(site.is_served(&used));
    let (last, none) = uses(&site.world.commands);
    assert!(last.is_some_and(|last| last >= start) && none.is_none());
    // It goes on when the credential changes.
    site.revoke(&unused);
    site.rotate(60).unwrap();
    assert_eq!(uses(&site.world.commands), (last, None));
    let other = site.world.another();
    assert_eq!(uses(&other), (None, None), "it is not in the store yet");
    let revision = other.revision();
    block_on(site.world.commands.flush_usage()).unwrap();
    block_on(site.world.commands.flush_usage()).unwrap();
    assert_eq!(uses(&other), (last, None));
    assert_eq!(site.world.another().revision(), revision);
}

#[test]
fn a_key_store_is_blocked_and_unblocked() {
    let site = Site::new();
    let mut set = site
        .world
        .commands
        .read(|snapshot| (**snapshot.key_set(site.world.vault).unwrap()).clone());
    set.key_store = Some(site.id);
    block_on(site.world.commands.update(alice(), set, None)).unwrap();
    let new = site.create(None).unwrap();
    let credential = Credential::new(&new.credential.access_key_id, new.secret().expose().to_owned()).unwrap();
    let client = Client::new(
        &site.proxy,
        PREFIX.parse().unwrap(),
        credential,
        REGION.parse().unwrap(),
    );
    let key = site.world.create(site.world.vault, "Name").key.id;
    let error = || {
        let answer = block_on(client.encrypt(key.as_str(), b"plaintext", None));
        answer.error_name().map(str::to_owned)
    };
    assert_eq!(error(), None);
    let seen = block_on(site.world.commands.block(alice(), site.id, None)).unwrap();
    assert_eq!(error().as_deref(), Some("InvalidStateException"));
    assert_eq!(
        block_on(site.world.commands.block(alice(), site.id, Some(seen))).unwrap(),
        seen
    );
    block_on(site.world.commands.unblock(alice(), site.id, Some(seen))).unwrap();
    assert_eq!(error(), None);
    let error = block_on(site.world.commands.block(alice(), site.id, Some(seen))).unwrap_err();
    assert!(matches!(error, CommandError::Changed { .. }), "{error}");
    let told = site.world.told();
    assert_eq!(
        told[told.len() - 4..],
        ["block done", "block done", "unblock done", "block refused"]
    );
    site.world.change(&key, KeyCommand::Disable).unwrap();
}

#[test]
fn a_key_store_is_removed_when_its_credentials_are_revoked() {
    let site = Site::new();
    let credential = site.create(None).unwrap();
    let remove = || block_on(site.world.commands.remove::<ExternalKeyStore>(alice(), site.id, None));
    let error = remove().unwrap_err();
    let id = &credential.credential.access_key_id;
    assert!(
        error.to_string().contains(&format!("is in use by credentials/{id}")),
        "{error}"
    );
    site.revoke(&credential);
    remove().unwrap();
    let (_, snapshot) = site.world.repository();
    assert!(snapshot.key_store(site.id).is_none() && snapshot.credential(id).unwrap().is_revoked);
    let error = site.create(None).unwrap_err();
    assert_eq!(error.to_string(), format!("there is no key-stores/{}", site.id));
    let error = block_on(site.world.commands.credentials(site.id)).unwrap_err();
    assert!(matches!(error, CommandError::Unknown(_)), "{error}");
}
