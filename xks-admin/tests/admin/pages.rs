//! Lists: their pages and filters.

use serde_json::json;

use crate::site::Site;

/// All ids of a list that is read in pages.
fn ids(site: &Site, list: &str, limit: usize) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let mark = if list.contains('?') { '&' } else { '?' };
        let page = site.send("GET", &format!("/admin/v1/{list}{mark}limit={limit}{after}"), None);
        let items = page.body["items"].as_array().unwrap();
        assert!(items.len() <= limit);
        ids.extend(items.iter().map(|item| match &item["number"] {
            serde_json::Value::Null => item["id"].as_str().unwrap().to_owned(),
            number => number.to_string(),
        }));
        match page.body["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return ids,
        }
    }
}

#[test]
fn pages_show_each_object_once_and_in_order() {
    let site = Site::new();
    for number in 0..7 {
        let key = json!({"key_set": "{vault}", "name": format!("key {number}")});
        assert_eq!(site.send("POST", "/admin/v1/keys", Some(key)).status, 201);
    }
    let mut sorted = ids(&site, "keys", 1000);
    sorted.sort();
    assert_eq!(sorted.len(), 8);
    for limit in [1, 2, 3, 7, 8, 9] {
        assert_eq!(ids(&site, "keys", limit), sorted, "{limit} keys a page");
    }
    for limit in 1..5 {
        assert_eq!(ids(&site, "key-sets", limit).len(), 3, "{limit} key sets a page");
        let numbers: Vec<u64> = ids(&site, "events", limit)
            .iter()
            .map(|id| id.parse().unwrap())
            .collect();
        assert!(numbers.is_sorted() && numbers.len() > 10, "{numbers:?}");
    }
}

#[test]
fn filters_leave_out_what_was_not_asked_for() {
    let site = Site::new();
    let other = json!({"tenant": "{spare}", "name": "vault", "source": "vault"});
    let other = site.send("POST", "/admin/v1/key-sets", Some(other)).text("id");
    let key = json!({"key_set": other, "name": "salaries"});
    let key = site.send("POST", "/admin/v1/keys", Some(key)).text("id");
    assert_eq!(ids(&site, "key-sets?name=vault", 1).len(), 2);
    assert_eq!(
        ids(&site, "key-sets?name=vault&tenant={spare}", 1),
        std::slice::from_ref(&other)
    );
    assert_eq!(ids(&site, "keys?name=salaries", 1).len(), 2);
    assert_eq!(ids(&site, "keys?tenant={spare}", 1), std::slice::from_ref(&key));
    assert_eq!(ids(&site, &format!("keys?key_set={other}"), 1), [key]);
    assert!(ids(&site, "keys?name=Salaries", 1).is_empty());
}

#[test]
fn what_is_in_aws_is_found_by_account_and_key_set() {
    let site = Site::new();
    let all = ids(&site, "cloud-keys", 1);
    assert_eq!(all.len(), 1);
    assert_eq!(ids(&site, "cloud-keys?account={account}&key_set={vault}", 1), all);
    assert!(ids(&site, "cloud-keys?account={unused-account}", 1).is_empty());
    assert!(ids(&site, "cloud-keys?key_set={hsm}", 1).is_empty());
    assert_eq!(ids(&site, "cloud-key-stores?account={account}", 1).len(), 2);
    assert!(ids(&site, "cloud-key-stores?account={unused-account}", 1).is_empty());

    let of_store = ids(&site, "jobs", 1);
    let body = json!({"cloud_key": "{cloud-key}"});
    let of_key = site.send("POST", "/admin/v1/jobs", Some(body)).text("id");
    assert_eq!(ids(&site, "jobs?account={account}&state=planned", 1).len(), 2);
    assert_eq!(ids(&site, "jobs?key_set={vault}", 1), std::slice::from_ref(&of_key));
    assert_eq!(ids(&site, "jobs?object=cloud-keys/{cloud-key}", 1), [of_key]);
    assert_eq!(
        ids(&site, "jobs?object=cloud-key-stores/{cloud-key-store}", 1),
        of_store
    );
    assert!(ids(&site, "jobs?state=done", 1).is_empty());
    assert!(ids(&site, "jobs?account={unused-account}", 1).is_empty());
}

#[test]
fn the_last_events_are_the_latest() {
    let site = Site::new();
    let all = ids(&site, "events", 1000);
    for last in [1, 2, 5, 1000] {
        let page = site.send("GET", &format!("/admin/v1/events?last={last}"), None);
        let numbers: Vec<_> = page.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["number"].to_string())
            .collect();
        assert_eq!(numbers, all[all.len().saturating_sub(last)..], "the last {last}");
        assert_eq!(page.body["next"], serde_json::Value::Null);
    }
}
