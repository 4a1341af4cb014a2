//! An encryption with the integrity value in process, and the primitives that it cannot do without: hashes,
//! HMAC, a scan of the JSON, AES-GCM. All are timed in turn. A primitive gets its input in one piece and
//! writes into a buffer that is there already, so that nothing but itself is in its time.

use std::{fmt, hint::black_box, time::Duration};

use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

use crate::{
    Row, Signed, Size, answer,
    material::{EncryptBody, Material, mac},
    measure::{consume, in_turn, ratio},
    proxy,
};

/// What a request cannot do without: its name, and the least that it takes.
pub type Primitive = (&'static str, Duration);

/// What an encryption with the integrity value takes, and its primitives.
#[derive(Clone, Debug)]
pub struct Pipeline {
    size: Size,
    /// From the request's bytes to those of the answer.
    pub whole: Duration,
    /// What the bar is a multiple of.
    pub primitives: [Primitive; 7],
    /// What could be had in other ways, and is not in their sum.
    pub others: [Primitive; 3],
}

impl Pipeline {
    /// Measures.
    #[must_use]
    pub fn measure(size: Size) -> Self {
        let (proxy, signed) = (proxy(), Signed::encrypt(size, true));
        let material = Material::of(&signed, &answer(&proxy, &signed));
        let (gcm, iv, aad) = (Aes256Gcm::new(&[7; 32].into()), [9; 12].into(), material.aad.as_bytes());
        let (mut ciphertext, mut opened) = (material.plaintext.clone(), material.plaintext.clone());
        let mut sealed = material.plaintext.clone();
        let tag = gcm
            .encrypt_inout_detached(&iv, aad, sealed.as_mut_slice().into())
            .expect("a short plaintext");
        let (mut decoded, mut encoded) = (vec![0; signed.body.len()], vec![0; 2 * signed.body.len()]);
        let [
            whole,
            body,
            request,
            integrity,
            hmac,
            scan,
            seal,
            open,
            decode,
            encode,
            random,
        ] = in_turn([
            &mut || consume(answer(&proxy, &signed)),
            &mut || consume(Sha256::digest(black_box(&signed.body))),
            &mut || consume(Sha256::digest(black_box(&material.canonical_request))),
            &mut || consume(Sha256::digest(black_box(&material.integrity_input))),
            &mut || consume(mac(&material.signing_key, black_box(&material.string_to_sign))),
            &mut || consume(serde_json::from_str::<EncryptBody<'_>>(black_box(&signed.body))),
            &mut || consume(gcm.encrypt_inout_detached(&iv, aad, ciphertext.as_mut_slice().into())),
            &mut || {
                opened.copy_from_slice(&sealed);
                let outcome = gcm.decrypt_inout_detached(&iv, aad, opened.as_mut_slice().into(), &tag);
                outcome.expect("it was sealed so");
            },
            &mut || {
                for text in &material.texts {
                    consume(BASE64_STANDARD.decode_slice(text, &mut decoded).expect("Base64"));
                }
            },
            &mut || {
                for part in &material.parts {
                    consume(BASE64_STANDARD.encode_slice(part, &mut encoded).expect("room for it"));
                }
            },
            &mut || getrandom::fill(black_box(&mut [0; 12])).expect("random bytes"),
        ]);
        Self {
            size,
            whole,
            primitives: [
                ("SHA-256 of the body", body),
                ("SHA-256 of the canonical request", request),
                ("SHA-256 for the integrity value", integrity),
                ("HMAC with a key that is ready", hmac),
                ("scan of the JSON", scan),
                ("AES-GCM, encryption", seal),
                ("AES-GCM, verification", open),
            ],
            others: [
                ("Base64 of the request", decode),
                ("Base64 of the answer", encode),
                ("IV, from the system's random source", random),
            ],
        }
    }

    /// What the primitives take.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.primitives.iter().map(|(_, time)| time).sum()
    }

    /// Against its bar.
    #[must_use]
    pub fn row(&self) -> Row {
        let measured = ratio(self.whole, self.sum());
        Row::at_most(
            "encrypt with CDIV in process, as multiple of its primitives",
            1.8,
            measured,
        )
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { plaintext, aad } = self.size;
        let sum = self.sum();
        writeln!(f, "encrypt with integrity value, {plaintext} bytes, AAD {aad}")?;
        for (name, time) in &self.primitives {
            writeln!(f, "  {name:36} {time:>10.2?}")?;
        }
        writeln!(f, "  {:36} {sum:>10.2?}", "these together")?;
        writeln!(
            f,
            "  {:36} {:>10.2?}: {:.2} times that",
            "the whole",
            self.whole,
            ratio(self.whole, sum)
        )?;
        for (name, time) in &self.others {
            writeln!(f, "  not among them: {name:36} {time:>10.2?}")?;
        }
        Ok(())
    }
}
