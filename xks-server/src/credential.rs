//! New credentials, and the file that the AWS KMS console takes them from.

use anyhow::Context as _;
use xks_core::{Credential, Zeroizing, key_store::UriPathPrefix};

/// From the operating system's random source.
// SIG-6
pub(crate) fn new() -> anyhow::Result<Credential> {
    let mut entropy = Zeroizing::new([0; 48]);
    getrandom::fill(&mut *entropy)
        .map_err(anyhow::Error::msg)
        .context("the operating system's random number generator failed")?;
    Ok(Credential::from_entropy(&entropy)?)
}

/// For a settings file, and for the console.
// CON-1
pub(crate) fn text(credential: &Credential, prefix: &UriPathPrefix) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2048)); // it never grows, so no copy is left behind
    text.extend([
        "# For the settings file, under the key store; the secret may stand in a file of its own instead.\n",
        "[[key_stores.credentials]]\naccess_key_id = \"",
        credential.access_key_id().as_str(),
        "\"\nsecret_access_key = \"",
        credential.secret_access_key().expose(),
        "\"\n\n# For the AWS KMS console, as a file, to create or edit the external key store:\n",
        &credential.console_json(prefix),
        "\n",
    ]);
    text
}
