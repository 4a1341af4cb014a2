//! An account with ten thousand keys: made, read as a whole, and kept in a file.

use std::collections::BTreeSet;

use kms_double::kms::{Clock, Kms, api::*};

use crate::{site::alice, support::Folder};

const KEYS: usize = 10_000;

/// What a tool reads of an account: all keys, all aliases, and the state and the tags of each key.
async fn refreshed(kms: &Kms) -> (BTreeSet<String>, BTreeSet<(String, String)>) {
    let (mut keys, mut request) = (BTreeSet::new(), ListKeysRequest::default());
    request.limit = Some(1000);
    loop {
        let page = kms.list_keys(&alice(), request.clone()).await.unwrap();
        keys.extend(page.keys.into_iter().map(|key| key.key_id));
        request.marker = page.next_marker;
        if !page.truncated {
            break;
        }
    }
    let (mut aliases, mut request) = (BTreeSet::new(), ListAliasesRequest::default());
    request.limit = Some(100);
    loop {
        let page = kms.list_aliases(&alice(), request.clone()).await.unwrap();
        aliases.extend(
            page.aliases
                .into_iter()
                .map(|alias| (alias.target_key_id, alias.alias_name)),
        );
        request.marker = page.next_marker;
        if !page.truncated {
            break;
        }
    }
    for (key_id, alias) in &aliases {
        let described = kms.describe_key(&alice(), KeyIdRequest::new(key_id)).await.unwrap();
        assert_eq!(described.key_metadata.key_id, *key_id);
        let request = ListOfKeyRequest::new(described.key_metadata.arn);
        let tags = kms.list_resource_tags(&alice(), request).await.unwrap().tags;
        assert_eq!(tags[0].tag_value, *alias);
    }
    (keys, aliases)
}

#[tokio::test]
async fn ten_thousand_keys_are_made_read_and_kept() {
    let (folder, clock) = (Folder::new(), Clock::default());
    let build = || {
        Kms::builder()
            .clock(clock.clone())
            .state_file(folder.path("state"))
            .build()
            .unwrap()
    };
    let kms = build();
    let (mut made, mut written, mut before) = (BTreeSet::new(), 0, 0);
    for number in 0..KEYS {
        let alias = format!("alias/{number}");
        let mut create = CreateKeyRequest::external();
        create.tags = Some(vec![Tag::new("alias", &alias)]);
        let key = kms.create_key(&alice(), create).await.unwrap().key_metadata.key_id;
        kms.create_alias(&alice(), CreateAliasRequest::new(&alias, &key))
            .await
            .unwrap();
        let after = std::fs::metadata(folder.path("state")).unwrap().len();
        written += after.checked_sub(before).unwrap_or(after); // it was replaced
        before = after;
        made.insert((key, alias));
    }
    assert!(
        written < 6 * before,
        "{written} bytes are written for a file of {before}"
    );
    let ids: BTreeSet<_> = made.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(refreshed(&kms).await, (ids, made.clone()));
    let calls = kms.faults().calls();
    for (operation, expected) in [
        ("ListKeys", KEYS / 1000),
        ("ListAliases", KEYS / 100),
        ("DescribeKey", KEYS),
        ("ListResourceTags", KEYS),
    ] {
        assert_eq!(calls[operation].made, expected as u64, "{operation}");
    }

    // One of a hundred is deleted, and its alias with it.
    let gone: BTreeSet<_> = made.iter().step_by(100).cloned().collect();
    for (key, _) in &gone {
        let delete = ScheduleKeyDeletionRequest::new(key);
        kms.schedule_key_deletion(&alice(), delete).await.unwrap();
    }
    clock.advance(std::time::Duration::from_secs(31 * 24 * 60 * 60));
    let left: BTreeSet<_> = made.difference(&gone).cloned().collect();
    let ids: BTreeSet<_> = left.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(refreshed(&kms).await, (ids.clone(), left.clone()));
    // What is due by the clock happens in the next process too, before anything is written.
    assert_eq!(refreshed(&build()).await, (ids.clone(), left.clone()));
    let last = &left.last().unwrap().0;
    kms.update_key_description(&alice(), UpdateKeyDescriptionRequest::new(last, "last"))
        .await
        .unwrap();
    let again = build();
    assert_eq!(refreshed(&again).await, (ids, left.clone()));
    let described = again.describe_key(&alice(), KeyIdRequest::new(last)).await.unwrap();
    assert_eq!(described.key_metadata.description, "last");
}
