//! Whole rotations of an access key: whatever goes wrong at whichever call, and wherever the process ends,
//! the account has a credential that works at every moment, and one access key in the end.

use std::time::{Duration, UNIX_EPOCH};

use kms_double::kms::{Caller, Clock, Kms, PartRequest, Trouble};
use xks_byok::{
    accounts::rotation::{Blocked, Effect, Limits, RotationError, State, Step, apply, observe, plan},
    aws::{AccessKey, AwsCredentials, AwsErrorKind, Connector as _},
};
use xks_lifecycle::Timestamp;
use xks_test_aws::AwsDouble;

const REGION: &str = "eu-central-1";
const USER: &str = "alice";

/// An account with what its owner commits.
struct Account {
    aws: AwsDouble,
    state: State,
    current: AccessKey,
    held: Option<AccessKey>,
    /// What was planned, in order, without repetitions.
    steps: Vec<String>,
}

impl Account {
    fn new(settle: Duration) -> Self {
        let clock = Clock::stopped_at(1_800_000_000.0);
        let kms = Kms::builder()
            .region(REGION)
            .clock(clock)
            .settle(settle)
            .build()
            .unwrap();
        kms.add_access_key(USER, "AKIAFIRSTFIRSTFIRST7", "the first").unwrap();
        kms.clock().advance(settle); // the user is known everywhere
        Self {
            aws: AwsDouble::new(REGION, kms).unwrap(),
            state: State::Idle,
            current: AccessKey::new("AKIAFIRSTFIRSTFIRST7", "the first"),
            held: None,
            steps: Vec::new(),
        }
    }

    fn kms(&self) -> &Kms {
        self.aws.region(REGION).unwrap()
    }

    fn now(&self) -> Timestamp {
        (UNIX_EPOCH + Duration::from_secs_f64(self.kms().clock().now())).into()
    }

    /// One step; its effect is committed unless the process ends before that.
    async fn step(&mut self, is_killed: bool) -> Result<Step, RotationError> {
        let now = self.now();
        let credentials = AwsCredentials::AccessKey(self.current.clone());
        let iam = self.aws.iam(&credentials, REGION).await?;
        let Some(keys) = observe(&*iam).await? else {
            return Ok(Step::Wait { until: now });
        };
        let step = plan(&self.state, &self.current.access_key_id, &keys, now, Limits::default());
        let text = step.to_string();
        if self.steps.last() != Some(&text) {
            self.steps.push(text);
        }
        let effect = apply(&step, &*iam, self.held.as_ref(), &self.aws, REGION, now).await?;
        if !is_killed {
            self.commit(effect);
        }
        Ok(step)
    }

    fn commit(&mut self, effect: Effect) {
        match effect {
            Effect::Record(state) => self.state = state,
            Effect::Keep(state, key) => (self.state, self.held) = (state, Some(key)),
            Effect::Switch(state) => {
                self.state = state;
                self.current = self.held.take().unwrap();
            }
            Effect::Forget(state) => (self.state, self.held) = (state, None),
            _ => (),
        }
    }

    fn assert_credential_works(&self, when: &str) {
        let AccessKey {
            access_key_id,
            secret_access_key,
            ..
        } = &self.current;
        let signed_in = self.kms().signed_in(access_key_id, secret_access_key);
        assert!(signed_in.is_ok(), "{when}: {signed_in:?} after {:#?}", self.steps);
    }

    /// Until the rotation has ended. The `killed` step, from 0, is not committed.
    async fn run(&mut self, killed: Option<usize>, when: &str) {
        for number in 0..200 {
            let done = self.step(killed == Some(number)).await;
            self.assert_credential_works(when);
            match done {
                Ok(Step::Finish) if killed != Some(number) => return,
                Ok(Step::Block(blocked)) => panic!("{when}: {blocked}"),
                Ok(_) => (),
                Err(RotationError::Aws(error)) => assert!(
                    error.is_retryable() || error.kind == AwsErrorKind::LimitExceeded,
                    "{when}: {error}"
                ),
                Err(error) => panic!("{when}: {error}"),
            }
            self.kms().clock().advance(Duration::from_secs(20));
        }
        panic!("{when}: it does not end: {:#?}", self.steps);
    }

    /// The ids of the user's access keys.
    async fn keys(&self) -> Vec<String> {
        let caller = Caller::new(format!("arn:aws:iam::111122223333:user/{USER}"));
        let keys = self.kms().list_access_keys(&caller, None, PartRequest::default()).await;
        keys.unwrap().items.into_iter().map(|key| key.access_key_id).collect()
    }

    async fn assert_rotated(&self, when: &str) {
        assert_eq!((&self.state, &self.held), (&State::Idle, &None), "{when}");
        assert_ne!(self.current.access_key_id, "AKIAFIRSTFIRSTFIRST7", "{when}");
        assert_eq!(self.keys().await, [&*self.current.access_key_id], "{when}");
    }
}

#[tokio::test]
async fn an_access_key_is_replaced_step_by_step() {
    let mut account = Account::new(Duration::ZERO);
    account.run(None, "undisturbed").await;
    account.assert_rotated("undisturbed").await;
    let verbs = account.steps.iter().map(|step| step.split(' ').next().unwrap());
    let expected = ["record", "create", "sign", "wait", "deactivate", "delete", "the"];
    assert_eq!(verbs.collect::<Vec<_>>(), expected);
}

/// Each call of each operation fails before and after its effect, once, and with the next one.
#[tokio::test]
async fn whichever_call_fails_the_rotation_ends_well() {
    for operation in [
        "ListAccessKeys",
        "CreateAccessKey",
        "GetCallerIdentity",
        "UpdateAccessKey",
        "DeleteAccessKey",
    ] {
        let count = {
            let mut account = Account::new(Duration::ZERO);
            account.run(None, "counted").await;
            account.kms().faults().calls()[operation].made
        };
        assert!(count > 0, "{operation}");
        for occurrence in 1..=count {
            // By a call that does nothing, or has its effect; by this one alone, and by the next one too.
            for (trouble, times) in [
                (Trouble::LostBefore, 1),
                (Trouble::LostAfter, 1),
                (Trouble::LostBefore, 2),
                (Trouble::LostAfter, 2),
                (Trouble::Throttled, 2),
            ] {
                let when = format!("{operation} {occurrence} {trouble:?} {times} times");
                let mut account = Account::new(Duration::ZERO);
                for next in 0..times {
                    account.kms().faults().inject(operation, occurrence + next, trouble);
                }
                account.run(None, &when).await;
                account.assert_rotated(&when).await;
            }
        }
    }
}

/// The process ends after a call and before it has committed what came of it.
#[tokio::test]
async fn wherever_the_process_ends_the_rotation_goes_on() {
    let count = {
        let mut account = Account::new(Duration::ZERO);
        let mut steps = 0;
        while account.step(false).await.unwrap() != Step::Finish {
            steps += 1;
            account.kms().clock().advance(Duration::from_secs(20));
        }
        steps
    };
    for killed in 0..=count {
        let when = format!("killed in step {killed}");
        let mut account = Account::new(Duration::ZERO);
        account.run(Some(killed), &when).await;
        account.assert_rotated(&when).await;
    }
}

#[tokio::test]
async fn a_key_whose_secret_was_lost_is_deleted() {
    let mut account = Account::new(Duration::ZERO);
    account.kms().faults().inject("CreateAccessKey", 1, Trouble::LostAfter);
    account.run(None, "lost").await;
    account.assert_rotated("lost").await;
    let lost = account.steps.iter().filter(|step| step.contains("its secret was lost"));
    assert_eq!(lost.count(), 1, "{:#?}", account.steps);
}

/// Answers flip between old and new for a minute after each change, and a new access key works only then.
#[tokio::test]
async fn answers_that_flip_do_no_harm() {
    let mut account = Account::new(Duration::from_secs(60));
    account.run(None, "flipping").await;
    account.assert_rotated("flipping").await;
    let mut account = Account::new(Duration::from_secs(60));
    account.kms().faults().inject("CreateAccessKey", 1, Trouble::LostAfter);
    account.run(None, "flipping and lost").await;
    account.assert_rotated("flipping and lost").await;
}

/// AWS takes longer than the limit to accept the first new access key.
#[tokio::test]
async fn a_key_that_never_works_is_given_up_for_another_one() {
    let mut account = Account::new(Duration::ZERO);
    while !matches!(account.state, State::Proving { .. }) {
        account.step(false).await.unwrap();
    }
    let refused = account.held.clone().unwrap().access_key_id;
    let caller = Caller::new(format!("arn:aws:iam::111122223333:user/{USER}"));
    let deactivated = account.kms().update_access_key(&caller, None, &refused, false).await;
    deactivated.unwrap();
    account.run(None, "refused").await;
    account.assert_rotated("refused").await;
    assert!(account.steps.iter().any(|step| step.contains("AWS does not accept it")));
}

#[tokio::test]
async fn the_key_of_somebody_else_is_not_touched() {
    let mut account = Account::new(Duration::ZERO);
    account
        .kms()
        .add_access_key(USER, "AKIAOTHEROTHEROTHER7", "other")
        .unwrap();
    let other = "AKIAOTHEROTHEROTHER7".to_owned();
    for _ in 0..5 {
        let blocked = Blocked::SecondKey { other: other.clone() };
        assert_eq!(account.step(false).await.unwrap(), Step::Block(blocked));
    }
    assert_eq!(account.keys().await.len(), 2);
    assert!(!account.kms().faults().calls().contains_key("CreateAccessKey"));
}

#[tokio::test]
async fn a_missing_permission_is_named_and_changes_nothing() {
    let mut account = Account::new(Duration::ZERO);
    account.kms().faults().deny("UpdateAccessKey");
    let error = loop {
        account.kms().clock().advance(Duration::from_secs(20));
        match account.step(false).await {
            Ok(_) => account.assert_credential_works("denied"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("iam:UpdateAccessKey"), "{error}");
    assert!(
        error.contains("statement AccessKeyRotation of the IAM policy"),
        "{error}"
    );
    assert_eq!(account.keys().await.len(), 2);
    account.kms().faults().allow("UpdateAccessKey");
    account.run(None, "allowed").await;
    account.assert_rotated("allowed").await;
}
