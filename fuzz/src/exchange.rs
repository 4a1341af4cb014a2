//! An exchange as the fuzzers write it, much like HTTP: method and target, header lines, an empty line, the
//! body; instead of a body, a third word in the first line says why there is none.
//!
//! No fuzzer finds a signature. So `authorization: @` stands for a header that is right in every way, and
//! `Signature=@` within one for the signature that goes with the rest of it, whatever that is.

use xks_core::{Request, api::UnreadableBody};

use crate::{
    judge::{destination, signature},
    proxy::TENANTS,
};

#[derive(Clone, Debug)]
pub struct Exchange {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    pub unreadable: Option<UnreadableBody>,
}

impl Exchange {
    pub fn parse(input: &[u8]) -> Self {
        let (head, body) = match input.windows(2).position(|two| two == b"\n\n") {
            Some(end) => (&input[..end], &input[end + 2..]),
            None => (input, &[][..]),
        };
        let mut lines = head.split(|byte| *byte == b'\n');
        let first = String::from_utf8_lossy(lines.next().unwrap_or_default());
        let mut words = first.splitn(3, ' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let unreadable = words.next().map(|why| match &*why {
            "too-large" => UnreadableBody::TooLarge { limit: 65_536 },
            "too-slow" => UnreadableBody::TooSlow,
            _ => UnreadableBody::Incomplete,
        });
        let headers = lines.filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((
                str::from_utf8(&line[..colon]).ok()?.to_owned(),
                line[colon + 1..].to_owned(),
            ))
        });
        let mut exchange = Self {
            method,
            target,
            headers: headers.collect(),
            body: body.to_owned(),
            unreadable,
        };
        exchange.sign();
        exchange
    }

    /// Puts signatures where `@` stands for them.
    fn sign(&mut self) {
        for index in 0..self.headers.len() {
            let (name, value) = &self.headers[index];
            if !name.eq_ignore_ascii_case("authorization") {
                continue;
            }
            let Ok(text) = str::from_utf8(value) else { continue };
            let value = if text.trim() == "@" {
                let tenant = destination(&self.target).map_or(&TENANTS[0], |destination| destination.tenant);
                signature::authorization(tenant.credentials[0], tenant.regions[0], self)
            } else if text.contains("Signature=@") {
                let signature = signature::signature_for(text, self);
                text.replace("Signature=@", &format!("Signature={signature}"))
            } else {
                continue;
            };
            self.headers[index].1 = value.into_bytes();
        }
    }

    /// Every value of a header.
    pub fn values<'e>(&'e self, name: &str) -> impl Iterator<Item = &'e [u8]> {
        let has_name = move |(candidate, _): &&(String, Vec<u8>)| candidate.eq_ignore_ascii_case(name);
        self.headers.iter().filter(has_name).map(|(_, value)| value.as_slice())
    }

    pub fn request(&self) -> Request<'_> {
        let request = match self.unreadable {
            None => Request::new(&self.method, &self.target, &self.body),
            Some(why) => Request::with_unreadable_body(&self.method, &self.target, why),
        };
        request.headers(self.headers.iter().map(|(name, value)| (&**name, &**value)))
    }
}
