//! Revisions: the ETag of an answer, and `If-Match`.

use serde_json::json;

use crate::site::{Reply, Site};

fn change(site: &Site, method: &str, path: &str, tag: &str, body: &str) -> Reply {
    let headers = [("content-type", "application/json"), ("if-match", tag)];
    site.send_raw(method, &site.fill(path), &headers, body.to_owned())
}

#[test]
fn who_has_seen_an_older_revision_is_refused_and_told_the_new_one() {
    let site = Site::new();
    let changes = [
        ("PATCH", "/admin/v1/tenants/{tenant}", "", r#"{"name": "other"}"#),
        ("DELETE", "/admin/v1/key-stores/{key-store}", "", ""),
        ("POST", "/admin/v1/keys/{key}", "/disable", ""),
        ("POST", "/admin/v1/keys/{key}", "/rotate", ""),
        ("PATCH", "/admin/v1/keys/{key}", "", r#"{"description": "d"}"#),
        ("POST", "/admin/v1/keys/{key}", "/versions", ""),
        ("POST", "/admin/v1/keys/{key}", "/versions/{old}/promote", ""),
    ];
    for (method, object, command, body) in changes {
        let seen = site.send("GET", object, None).etag().to_owned();
        let before = site.last_event();
        let stale = change(&site, method, &format!("{object}{command}"), "\"1\"", body);
        assert_eq!(
            (stale.status.as_u16(), stale.text("code").as_str()),
            (412, "changed"),
            "{object}{command}"
        );
        assert_eq!(format!("\"{}\"", stale.text("found")), seen);
        assert!(site.events_after(before)[0].ends_with("refused"));
        let fresh = change(&site, method, &format!("{object}{command}"), &seen, body);
        assert!(fresh.status.is_success(), "{object}{command}: {}", fresh.body);
    }
}

#[test]
fn an_etag_is_the_revision_of_the_object() {
    let site = Site::new();
    let made = site.send("POST", "/admin/v1/tenants", Some(json!({"name": "new"})));
    assert_eq!(made.etag(), format!("\"{}\"", made.text("revision")));
    let place = made.headers["location"].to_str().unwrap();
    let renamed = site.send("PATCH", place, Some(json!({"name": "newer"})));
    assert_ne!(renamed.etag(), made.etag());
    let same = site.send("PATCH", place, Some(json!({"name": "newer"})));
    assert_eq!(same.etag(), renamed.etag(), "nothing was changed");
}

#[test]
fn only_one_etag_is_a_condition() {
    let site = Site::new();
    for wrong in ["1", "W/\"1\"", "\"1\", \"2\"", "\"x\"", "\"+1\"", "\"\""] {
        let reply = change(&site, "PATCH", "/admin/v1/tenants/{tenant}", wrong, "{}");
        assert_eq!(
            (reply.status.as_u16(), reply.text("code").as_str()),
            (400, "invalid-if-match"),
            "{wrong}"
        );
    }
    let any = change(&site, "PATCH", "/admin/v1/tenants/{tenant}", "*", r#"{"name": "any"}"#);
    assert_eq!(any.status, 200);
}
