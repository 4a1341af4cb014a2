//! Key managers with one defect each, around the software keys.

use std::{
    collections::{HashMap, HashSet},
    future::poll_fn,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard},
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use xks_backend_soft::{KeyVersion, SoftBackend, SoftKey};
use xks_core::{
    BackendError, KeyBackend as _, KeyId, Zeroizing, async_trait,
    backend::{
        BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, KeyMetadata, KeyStatus,
        KeyUsage, Layered, VerifiedEncryption,
    },
    manage::{
        Capabilities, CreationToken, KeyDescription, KeyManager, KeyPage, ManageError, ManageErrorKind, NewKey,
        WrappingAlgorithm, WrappingKey,
    },
};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    DisablesThoughItCannot,
    WrapsThoughItCannot,
    ServesLater,
    CreatesDisabled,
    ForgetsTokens,
    ForgetsLabels,
    ListsOtherUsages,
    GivesAllUsages,
    OneMaterialForAll,
    IgnoresTokens,
    MakesTheKeyAgain,
    RacesForTokens,
    TakesTokensForOtherKeys,
    ReplacesKeysOfALabel,
    AdoptsKeysOfALabel,
    StaysBusy,
    IgnoresDeadlines,
    ActsBeforeItLooksAtTheTime,
    DestroysWhatIsNotThere,
    DescribesWhatIsNotThere,
    FailsForWhatIsNotThere,
    IgnoresCase,
    KeepsServing,
    ListsDestroyedKeys,
    DisablesInsteadOfDestroying,
    DestroysOthersToo,
    SaysDisabledAndServes,
    NeverEnablesAgain,
    WrapsDisabledKeys,
    LosesTheLastOfAPage,
    ListsBackwards,
    RepeatsTheLastOfAPage,
    EndsAfterAPage,
    CountsPages,
    WrapsWhatIsNotExtractable,
    WrapsAnotherKey,
    WrapsByAnotherAlgorithm,
    CutsWhatItWraps,
    RepeatsWrappings,
    CutsMessages,
    SignsWithEveryKey,
    OneAnswerForAll,
    LogsKeyMaterial,
    TellsKeyMaterial,
}

pub(crate) struct Broken {
    good: SoftBackend,
    defect: Defect,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    created: Vec<KeyId>,
    materials: HashMap<KeyId, [u8; 32]>,
    used: HashSet<KeyId>,
    hidden: HashSet<KeyId>,
    destroyed: Vec<KeyDescription>,
    disabled: HashSet<KeyId>,
    wrappings: HashMap<(KeyId, &'static str), Vec<u8>>,
    answer: Option<KeyId>,
    is_busy: bool,
    count: u32,
}

impl Broken {
    pub(crate) fn new(defect: Defect) -> Arc<Self> {
        Arc::new(Self {
            good: SoftBackend::new(),
            defect,
            state: Mutex::default(),
        })
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn good(&self) -> &dyn KeyManager {
        &self.good
    }

    fn deadline(&self, deadline: Instant) -> Instant {
        if self.is(Defect::IgnoresDeadlines) || self.is(Defect::ActsBeforeItLooksAtTheTime) {
            Instant::now() + Duration::from_secs(60)
        } else {
            deadline
        }
    }

    /// Says `Timeout` after the work, if that is what is wrong.
    fn in_the_end<T>(&self, outcome: T, deadline: Instant) -> Result<T, ManageError> {
        if self.is(Defect::ActsBeforeItLooksAtTheTime) && deadline <= Instant::now() {
            return Err(ManageErrorKind::Timeout.into());
        }
        Ok(outcome)
    }

    fn id(&self, id: &KeyId) -> KeyId {
        let same = |known: &KeyId| known.as_str().eq_ignore_ascii_case(id.as_str());
        if self.is(Defect::IgnoresCase) {
            return self.good.key_ids().into_iter().find(same).unwrap_or_else(|| id.clone());
        }
        id.clone()
    }

    /// Whether a destroyed key is one that only the backend still knows.
    fn check(&self, id: &KeyId) -> Result<(), ManageError> {
        if self.state().hidden.contains(id) {
            return Err(ManageErrorKind::KeyNotFound.into());
        }
        Ok(())
    }

    fn described(&self, mut key: KeyDescription) -> KeyDescription {
        let usages = |metadata: &KeyMetadata| metadata.usages().to_vec();
        match self.defect {
            Defect::ForgetsTokens => key.token = None,
            Defect::ForgetsLabels => key.label.clear(),
            Defect::WrapsWhatIsNotExtractable => key.is_extractable = false,
            Defect::SaysDisabledAndServes if self.state().disabled.contains(&key.id) => {
                let usages = usages(&key.metadata);
                key.metadata = KeyMetadata::new(key.metadata.spec().clone(), usages, KeyStatus::Disabled);
            }
            _ => {}
        }
        key
    }

    async fn make(&self, new: &NewKey, deadline: Instant) -> Result<KeyId, ManageError> {
        let known = async |token: CreationToken| {
            let page = self.good().keys(None, NonZeroUsize::MAX, deadline).await?;
            let found = page.keys.into_iter().find(|key| key.token == Some(token));
            Ok::<_, ManageError>(found.map(|key| key.id))
        };
        match self.defect {
            Defect::CreatesDisabled => {
                let id = self.good().create_key(new, deadline).await?;
                self.good().set_status(&id, KeyStatus::Disabled, deadline).await?;
                Ok(id)
            }
            Defect::GivesAllUsages => {
                let new = new.clone().with_usages([KeyUsage::Encrypt, KeyUsage::Decrypt]);
                self.good().create_key(&new, deadline).await
            }
            Defect::SignsWithEveryKey => {
                let usages = new.usages().iter().copied().chain([KeyUsage::Sign]);
                self.good().create_key(&new.clone().with_usages(usages), deadline).await
            }
            Defect::WrapsWhatIsNotExtractable => self.good().create_key(&new.clone().extractable(true), deadline).await,
            Defect::OneMaterialForAll | Defect::LogsKeyMaterial | Defect::TellsKeyMaterial => {
                let mut material = [7; 32];
                if !self.is(Defect::OneMaterialForAll) {
                    // Not the token itself, which is no secret.
                    let token = new.token();
                    let bytes = token.as_bytes().iter().zip(&mut material);
                    bytes.for_each(|(byte, place)| *place = byte ^ 0x5a);
                }
                if self.is(Defect::LogsKeyMaterial) {
                    tracing::debug!(?material, "a key is made");
                }
                self.state().materials.insert(new.label().clone(), material);
                let key = SoftKey::new(KeyVersion::new(1, material).unwrap())
                    .with_usages(new.usages().iter().copied())
                    .with_extractable(new.is_extractable());
                self.good.insert(new.label().clone(), key);
                Ok(new.label().clone())
            }
            Defect::IgnoresTokens => self.good().create_key(&self.another(new), deadline).await,
            Defect::RacesForTokens => {
                if let Some(id) = known(new.token()).await? {
                    return Ok(id);
                }
                thread::sleep(Duration::from_millis(5));
                self.good().create_key(&self.another(new), deadline).await
            }
            Defect::MakesTheKeyAgain => {
                if let Some(id) = known(new.token()).await? {
                    self.good().destroy_key(&id, deadline).await?;
                }
                self.good().create_key(new, deadline).await
            }
            Defect::TakesTokensForOtherKeys => match known(new.token()).await? {
                Some(id) => Ok(id),
                None => self.good().create_key(new, deadline).await,
            },
            Defect::ReplacesKeysOfALabel => {
                self.good.remove(new.label());
                self.good().create_key(new, deadline).await
            }
            Defect::AdoptsKeysOfALabel if self.good.key(new.label()).is_some() => Ok(new.label().clone()),
            _ => self.good().create_key(new, deadline).await,
        }
    }

    /// A key like this with a token and a label that are of no other.
    fn another(&self, new: &NewKey) -> NewKey {
        let mut state = self.state();
        state.count += 1;
        let mut token = *new.token().as_bytes();
        token[..4].copy_from_slice(&state.count.to_be_bytes());
        let label = format!("{}-{}", new.label(), state.count).parse().unwrap();
        NewKey::for_xks(token.into(), label)
            .with_usages(new.usages().iter().copied())
            .extractable(new.is_extractable())
    }

    fn serves(&self, id: &KeyId) -> Result<(), BackendError> {
        if self.is(Defect::ServesLater) && self.state().used.insert(id.clone()) {
            return Err(BackendErrorKind::KeyNotFound.into());
        }
        Ok(())
    }
}

/// Ready when asked a second time.
async fn wait_once() {
    let mut was_asked = false;
    poll_fn(|context| {
        if std::mem::replace(&mut was_asked, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[async_trait]
impl Layered for Broken {
    type Inner = SoftBackend;

    fn inner(&self) -> &SoftBackend {
        &self.good
    }

    async fn key_metadata(&self, id: &KeyId, request: &GetKeyMetadataRequest<'_>) -> Result<KeyMetadata, BackendError> {
        self.serves(id)?;
        self.good.key_metadata(id, request).await
    }

    async fn encrypt(&self, id: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        self.serves(id)?;
        self.good.encrypt(id, request).await
    }

    async fn encrypt_verified(
        &self,
        id: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<VerifiedEncryption, BackendError> {
        VerifiedEncryption::by_two_calls(self, id, request).await
    }

    async fn decrypt(&self, id: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        self.serves(id)?;
        self.good.decrypt(id, request).await
    }
}

#[async_trait]
impl KeyManager for Broken {
    async fn capabilities(&self, deadline: Instant) -> Result<Capabilities, ManageError> {
        let mut capabilities = self.good().capabilities(deadline).await?;
        match self.defect {
            Defect::DisablesThoughItCannot => capabilities.set_status = false,
            Defect::WrapsThoughItCannot => {
                capabilities
                    .wrapping
                    .retain(|algorithm| *algorithm != WrappingAlgorithm::RsaOaepSha1);
            }
            _ => {}
        }
        Ok(capabilities)
    }

    async fn create_key(&self, new: &NewKey, deadline: Instant) -> Result<KeyId, ManageError> {
        if self.is(Defect::StaysBusy) {
            if std::mem::replace(&mut self.state().is_busy, true) {
                return Err(ManageErrorKind::Throttled.into());
            }
            wait_once().await;
            self.state().is_busy = false; // not if the future is dropped before
        }
        let id = self.make(new, self.deadline(deadline)).await?;
        self.state().created.push(id.clone());
        if self.is(Defect::OneAnswerForAll) {
            self.state().answer = Some(id);
            thread::sleep(Duration::from_millis(2));
            return Ok(self.state().answer.clone().unwrap());
        }
        self.in_the_end(id, deadline)
    }

    async fn keys(
        &self,
        after: Option<&KeyId>,
        limit: NonZeroUsize,
        deadline: Instant,
    ) -> Result<KeyPage, ManageError> {
        let all = self
            .good()
            .keys(None, NonZeroUsize::MAX, self.deadline(deadline))
            .await?
            .keys;
        let mut page = self.good().keys(after, limit, self.deadline(deadline)).await?;
        match self.defect {
            Defect::LosesTheLastOfAPage if page.keys.len() > 1 => drop(page.keys.pop()),
            Defect::ListsBackwards => page.keys.reverse(),
            Defect::RepeatsTheLastOfAPage => {
                let is_after = |key: &KeyDescription| after.is_none_or(|after| key.id >= *after);
                page.keys = all.into_iter().filter(is_after).take(limit.get()).collect();
                page.is_last = page.keys.len() < limit.get() || page.keys.len() == 1;
            }
            Defect::EndsAfterAPage => page.is_last = true,
            Defect::CountsPages => {
                let place = |after: &KeyId| all.iter().position(|key| key.id == *after).map(|place| place + 1);
                let start = after.and_then(place).unwrap_or(0);
                page.is_last = all.len() <= start + limit.get();
                page.keys = all.into_iter().skip(start).take(limit.get()).collect();
            }
            Defect::ListsDestroyedKeys if page.is_last => page.keys.extend(self.state().destroyed.clone()),
            Defect::ListsOtherUsages => {
                for key in &mut page.keys {
                    key.metadata = KeyMetadata::new(key.metadata.spec().clone(), [], key.metadata.status());
                }
            }
            _ => {}
        }
        page.keys.retain(|key| !self.state().hidden.contains(&key.id));
        page.keys = page.keys.into_iter().map(|key| self.described(key)).collect();
        Ok(page)
    }

    async fn key(&self, id: &KeyId, deadline: Instant) -> Result<KeyDescription, ManageError> {
        self.check(id)?;
        let described = self.good().key(&self.id(id), self.deadline(deadline)).await;
        let described = match self.defect {
            Defect::DescribesWhatIsNotThere if described.is_err() => {
                let id = self.state().created.first().cloned();
                self.good().key(&id.ok_or(ManageErrorKind::Other)?, deadline).await?
            }
            Defect::FailsForWhatIsNotThere => described.map_err(|error| match error.kind() {
                ManageErrorKind::KeyNotFound => ManageErrorKind::Other.into(),
                _ => error,
            })?,
            _ => described?,
        };
        self.in_the_end(self.described(described), deadline)
    }

    async fn destroy_key(&self, id: &KeyId, deadline: Instant) -> Result<(), ManageError> {
        self.check(id)?;
        let (id, until) = (&self.id(id), self.deadline(deadline));
        match self.defect {
            Defect::DestroysWhatIsNotThere => drop(self.good().destroy_key(id, until).await),
            Defect::KeepsServing => {
                self.good().key(id, until).await?;
                self.state().hidden.insert(id.clone());
            }
            Defect::DisablesInsteadOfDestroying => self.good().set_status(id, KeyStatus::Disabled, until).await?,
            Defect::DestroysOthersToo => {
                self.good().destroy_key(id, until).await?;
                let others = std::mem::take(&mut self.state().created);
                others.iter().for_each(|other| drop(self.good.remove(other)));
            }
            Defect::ListsDestroyedKeys => {
                let described = self.good().key(id, until).await?;
                self.good().destroy_key(id, until).await?;
                self.state().destroyed.push(described);
            }
            _ => self.good().destroy_key(id, until).await?,
        }
        self.in_the_end((), deadline)
    }

    async fn set_status(&self, id: &KeyId, status: KeyStatus, deadline: Instant) -> Result<(), ManageError> {
        self.check(id)?;
        match (self.defect, status) {
            (Defect::SaysDisabledAndServes, KeyStatus::Disabled) => {
                self.state().disabled.insert(id.clone());
                return self.good().key(id, deadline).await.map(drop);
            }
            (Defect::SaysDisabledAndServes, KeyStatus::Enabled) => drop(self.state().disabled.remove(id)),
            (Defect::NeverEnablesAgain, KeyStatus::Enabled) => return self.good().key(id, deadline).await.map(drop),
            _ => {}
        }
        self.good().set_status(id, status, self.deadline(deadline)).await
    }

    async fn wrap_key(
        &self,
        id: &KeyId,
        wrapping_key: &WrappingKey,
        deadline: Instant,
    ) -> Result<Vec<u8>, ManageError> {
        self.check(id)?;
        let wrap = self.good().wrap_key(id, wrapping_key, deadline);
        match self.defect {
            Defect::WrapsDisabledKeys => {
                let before = self.good().key(id, deadline).await?.metadata.status();
                self.good.set_status(id, KeyStatus::Enabled).unwrap();
                let wrapped = self.good().wrap_key(id, wrapping_key, deadline).await;
                self.good.set_status(id, before).unwrap();
                wrapped
            }
            Defect::WrapsAnotherKey => {
                let wrapped = wrap.await?;
                let last = self.state().created.last().cloned();
                let other = self.good().wrap_key(&last.unwrap(), wrapping_key, deadline).await;
                Ok(other.unwrap_or(wrapped))
            }
            Defect::WrapsByAnotherAlgorithm => {
                let other = match wrapping_key.algorithm() {
                    WrappingAlgorithm::RsaOaepSha256 => WrappingAlgorithm::RsaOaepSha1,
                    same => same,
                };
                let other = wrapping_key.clone().with_algorithm(other);
                self.good().wrap_key(id, &other, deadline).await
            }
            Defect::CutsWhatItWraps => wrap.await.map(|mut wrapped| {
                wrapped.pop();
                wrapped
            }),
            Defect::RepeatsWrappings => {
                let (wrapped, name) = (wrap.await?, wrapping_key.algorithm().as_str());
                let mut state = self.state();
                Ok(state.wrappings.entry((id.clone(), name)).or_insert(wrapped).clone())
            }
            Defect::TellsKeyMaterial => wrap.await.map_err(|error| {
                let material = self.state().materials.get(id).copied();
                ManageError::new(error.kind(), format!("cannot wrap {material:02x?}"))
            }),
            _ => wrap.await,
        }
    }

    async fn cmac(&self, id: &KeyId, message: &[u8], deadline: Instant) -> Result<[u8; 16], ManageError> {
        self.check(id)?;
        let message = match self.defect {
            Defect::CutsMessages => message.get(..32).unwrap_or(message),
            _ => message,
        };
        self.good().cmac(id, message, deadline).await
    }
}
