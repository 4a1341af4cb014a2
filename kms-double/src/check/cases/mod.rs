//! All cases, in the order in which they are tried.

mod alive;
mod authentication;
mod decrypt;
mod destructive;
mod encrypt;
mod every_answer;
mod health;
mod json;
mod key_metadata;
mod refused_signatures;
mod request_metadata;
mod round_trip;
mod tampering;
mod tls;
mod transport;
mod unsigned;
mod uri;

use super::{case::Case, setup::Setup};

pub(super) fn all(setup: &Setup) -> Vec<Case> {
    let groups = [
        tls::cases(),
        transport::cases(),
        uri::cases(),
        request_metadata::cases(),
        key_metadata::cases(setup),
        round_trip::cases(setup),
        encrypt::cases(),
        json::cases(),
        decrypt::cases(),
        tampering::cases(),
        health::cases(),
        authentication::cases(),
        authentication::too_far(),
        refused_signatures::cases(),
        unsigned::cases(),
        every_answer::cases(),
        alive::under_load(),
        alive::half_sent(),
        destructive::cases(),
        alive::at_the_end(),
    ];
    groups.into_iter().flatten().collect()
}
