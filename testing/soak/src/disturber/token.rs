//! Faults of the token.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::Disturber;
use crate::{
    caller::Mishap,
    plan::{Kind, Step},
    rules::Rules,
    settings::Settings,
};

/// The codes that calls fail with: what passes, but none that says of a key or a ciphertext what is not so,
/// nor of a session that it is gone: such a one would never be closed, and stay open. `close-sessions` says
/// so and does it.
const CODES: [(&str, u64); 8] = [
    ("CKR_HOST_MEMORY", 0x2),
    ("CKR_GENERAL_ERROR", 0x5),
    ("CKR_FUNCTION_FAILED", 0x6),
    ("CKR_DEVICE_ERROR", 0x30),
    ("CKR_DEVICE_REMOVED", 0x32),
    ("CKR_KEY_HANDLE_INVALID", 0x60),
    ("CKR_OPERATION_NOT_INITIALIZED", 0x91),
    ("CKR_USER_NOT_LOGGED_IN", 0x101),
];

const FUNCTIONS: [&str; 10] = [
    "C_EncryptInit",
    "C_Encrypt",
    "C_DecryptInit",
    "C_Decrypt",
    "C_OpenSession",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_GetAttributeValue",
    "C_GetSessionInfo",
    "C_GetTokenInfo",
];

impl Disturber {
    /// The orders to the shim.
    fn commands(&mut self, kind: Kind) -> Vec<String> {
        let rng = &mut self.rng;
        let code = rng.choice([0x5_u64, 0x6, 0x30, 0xe0]).unwrap_or(0x30);
        let one = |command: String| vec![command];
        match kind {
            Kind::ErrorCodes => (0..12)
                .map(|_| {
                    let function = rng.choice(FUNCTIONS).unwrap_or("C_Encrypt");
                    let code = rng.choice(CODES).map_or(0x30, |(_, code)| code);
                    let (after, times) = (rng.u8(0..40), rng.u8(1..4));
                    format!("fail {function} {code} after={after} times={times}")
                })
                .collect(),
            Kind::Hang => one(format!("hang crypt after={} times={}", rng.u8(0..20), rng.u8(1..5))),
            Kind::Latency => one(format!("latency-op {}", rng.u64(5000..30_000))),
            Kind::Storm => one(format!("storm {code}")),
            Kind::StickyStorm => one(format!("storm {code} sticky")),
            Kind::CloseSessions => one("close-sessions".to_owned()),
            Kind::LogOut => one("logout".to_owned()),
            Kind::RemoveToken => one(format!("remove-token {}", 0x32)),
            Kind::LimitSessions => vec![format!("session-limit {}", rng.u8(3..6)), "close-sessions".to_owned()],
            Kind::FlipBits => one("flip C_Encrypt,C_Decrypt times=40".to_owned()),
            Kind::HideSlots => vec![format!("empty times={}", rng.u8(2..10)), format!("sticky {}", 0x32)],
            _ => Vec::new(),
        }
    }

    /// Something goes wrong in the token, and ends.
    pub(super) async fn fault(&mut self, step: &Step, rules: Rules) -> anyhow::Result<()> {
        let name = step.kind.name();
        self.shared.phases.begin(name, rules);
        for command in self.commands(step.kind) {
            self.ask(&command)?;
        }
        // A call that hangs has to be given up, before it is released.
        let least = match step.kind {
            Kind::Hang => Duration::from_millis(Settings::DEADLINE_MS + 200),
            _ => Duration::ZERO,
        };
        sleep(step.hold.max(least)).await;
        let commands: &[&str] = match step.kind {
            Kind::StickyStorm => &["calm", "release"],
            Kind::Hang => &["release"],
            // What was closed or logged out is not opened by the shim, and slots that were hidden have come
            // by now.
            Kind::CloseSessions | Kind::LogOut => &[],
            _ => &["clear"],
        };
        for command in commands {
            self.ask(command)?;
        }
        let took = self.back(name, Duration::ZERO).await?;
        self.ask("clear")?;
        self.shared.tally().recoveries.entry(name).or_default().push(took);
        // Whoever is under way may have met with the fault before it ended.
        self.shared.quiesce().await
    }

    /// ENC-6: the token makes IVs that are zero or come again. Nothing is encrypted until the token is opened
    /// again, and what was encrypted before is decrypted all the time.
    pub(super) async fn spoil_ivs(&mut self, step: &Step) -> anyhow::Result<()> {
        self.shared.phases.begin(step.kind.name(), Rules::UNTRUSTED);
        let violations = self.ask("violations")?;
        self.fault_unless(violations.is_empty(), || {
            format!("the module was misused: {violations}")
        });
        self.ask(if step.kind == Kind::ZeroIv {
            "iv zero"
        } else {
            "iv repeat"
        })?;
        sleep(step.hold).await;
        let outcome = self.prober.encrypt(0, "alpha-1", true).await;
        let is_refused = matches!(&outcome, Err(Mishap::Error(name)) if name == "InternalException");
        self.fault_unless(is_refused, || {
            format!("an encryption under an IV of {}: {outcome:?}", step.kind.name())
        });
        self.ask("clear")?;
        let ended = Instant::now();
        self.change_sessions();
        self.reload().await?;
        let took = self.back(step.kind.name(), ended.elapsed()).await?;
        self.shared
            .tally()
            .recoveries
            .entry(step.kind.name())
            .or_default()
            .push(took);
        self.shared.quiesce().await?;
        // That the module repeats IVs is its own doing.
        let violations = self.ask("violations")?;
        let others = violations.lines().filter(|line| !line.starts_with("nonce-reuse "));
        let others = others.collect::<Vec<_>>().join("; ");
        self.fault_unless(others.is_empty(), || format!("the module was misused: {others}"));
        let counters = self.shim.counters();
        self.forgotten.0 += counters.initialized;
        self.forgotten.1 += counters.injected;
        self.ask("reset")?;
        Ok(())
    }
}
