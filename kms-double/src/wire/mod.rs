//! The protocol of AWS KMS to a proxy: signed POSTs over kept connections, HTTP/1.1 or HTTP/2, TLS and mutual
//! TLS.
//!
//! ```text
//! credential   whom requests are signed as           tls       roots, client certificate, versions
//! endpoint     whom to call, and how                 dial      one connection, from the socket on
//! request      a request in all its parts, signed    client    many of them over kept connections
//! answer       what came back, or why nothing did
//! ```

mod answer;
mod client;
mod credential;
mod dial;
mod endpoint;
mod request;
mod tls;

pub(crate) use self::tls::server_config;
pub use self::{
    answer::{Answer, CallError},
    client::Client,
    credential::Credential,
    dial::{Connection, Handshake, Stream},
    endpoint::{Endpoint, EndpointBuilder, EndpointError, Http},
    request::{Raw, SERVICE, SignError},
    tls::Tls,
};
