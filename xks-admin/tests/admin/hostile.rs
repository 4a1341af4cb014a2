//! Requests that no client of ours sends.

use http::Request;
use serde_json::json;

use crate::site::Site;

#[test]
fn a_request_without_an_actor_is_not_served() {
    let site = Site::new();
    for (method, path) in [("GET", "/admin/v1/tenants"), ("POST", "/admin/v1/tenants")] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Default::default())
            .unwrap();
        let reply = site.send_request(request);
        assert_eq!(
            (reply.status.as_u16(), reply.text("code").as_str()),
            (401, "not-authenticated")
        );
    }
}

#[test]
fn names_and_bodies_of_a_megabyte_are_refused_in_few_words() {
    let site = Site::new();
    let long = "n".repeat(1024 * 1024 - 100);
    for body in [
        json!({ "name": long }),
        json!({ long.as_str(): 1 }),
        json!({ "name": [long] }),
        json!({ "name": "n", "description": long }),
    ] {
        let before = site.last_event();
        let reply = site.send("POST", "/admin/v1/tenants", Some(body));
        assert_eq!(
            (reply.status.as_u16(), reply.text("code").as_str()),
            (422, "invalid-field")
        );
        assert!(reply.body.to_string().len() < 1000);
        assert_eq!(site.events_after(before), ["create tenants refused"]);
    }
    let reply = site.send(
        "POST",
        "/admin/v1/tenants",
        Some(json!({ "name": "n".repeat(1024 * 1024) })),
    );
    assert_eq!((reply.status.as_u16(), reply.text("code").as_str()), (413, "too-large"));
}

#[test]
fn paths_that_are_not_the_apis_are_not_found() {
    let site = Site::new();
    for path in [
        "/",
        "/admin/v1",
        "/admin/v1/",
        "/admin/v1/tenants/",
        "/admin/v1//tenants",
        "/admin/v2/tenants",
        "/admin/v1/../v1/tenants",
        "/admin/v1/tenants/..",
        "/admin/v1/tenants/%2e%2e",
        "/admin/v1/tenants/%2F{tenant}",
        "/admin/v1/tenants/{tenant}%00",
        "/admin/v1/tenants/{tenant}%20",
        "/admin/v1/tenants/%ff",
        "/admin/v1/tenants/{key}",
        "/admin/v1/keys/{tenant}",
        "/admin/v1/TENANTS/{tenant}",
        "/admin/v1/keys/{key}/versions/{old}/versions",
    ] {
        let reply = site.send("GET", path, None);
        assert_eq!(reply.status, 404, "{path}: {}", reply.body);
    }
    let long = format!("/admin/v1/tenants/{}", "x".repeat(20_000));
    let reply = site.send("DELETE", &long, None);
    assert_eq!(reply.status, 404);
    assert!(reply.body.to_string().len() < 300);
}

#[test]
fn bodies_that_are_no_json_are_refused() {
    let site = Site::new();
    let send = |media_type: &str, body: &str| {
        let headers: &[(&str, &str)] = &[("content-type", media_type)];
        let headers = if media_type.is_empty() { &[] } else { headers };
        let reply = site.send_raw("POST", "/admin/v1/tenants", headers, body.to_owned());
        format!("{} {}", reply.status.as_str(), reply.text("code"))
    };
    for media_type in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
    ] {
        assert_eq!(send(media_type, r#"{"name": "n"}"#), "415 media-type", "{media_type}");
    }
    assert_eq!(send("Application/JSON; charset=utf-8", r#"{"name": "n"}"#), "201 ");
    let deep = format!(r#"{{"name": {}}}"#, "[".repeat(10_000));
    for body in ["nonsense", "\u{feff}{}", r#"{"name": "n",}"#, "{'name': 'n'}", &deep] {
        assert!(send("application/json", body).starts_with("4"), "{body}");
    }
    for body in [
        "[]",
        "null",
        "7",
        r#""name""#,
        r#"{"name": "a", "name": "b"}"#,
        r#"{"name": {"$ne": 1}}"#,
    ] {
        assert_eq!(send("application/json", body), "422 invalid-field", "{body}");
    }
    let bytes = site.send_raw(
        "POST",
        "/admin/v1/tenants",
        &[("content-type", "application/json")],
        &b"{\"name\": \"\xff\"}"[..],
    );
    assert_eq!(bytes.status, 400);
}

/// A secret is in the answer that makes the credential, and nowhere else.
#[test]
fn a_secret_is_shown_once_and_key_material_never() {
    let site = Site::new();
    let mut shown = Vec::new();
    let mut secrets = Vec::new();
    for command in ["credentials", "credentials/{credential}/revoke", "rotate-credential"] {
        let overlap = (command == "rotate-credential").then(|| json!({"overlap_minutes": 0}));
        let made = site.send("POST", &format!("/admin/v1/key-stores/{{served}}/{command}"), overlap);
        assert!(made.status.is_success(), "{}", made.body);
        if made.status == 201 {
            let secret = made.text("secret_access_key");
            let console = &made.body["console_json"];
            assert_eq!(console["XksProxyUriPath"], "/us/kms/xks/v1");
            assert_eq!(
                console["XksProxyAuthenticationCredential"]["RawSecretAccessKey"],
                secret.as_str()
            );
            secrets.push(secret);
        }
    }
    assert!(secrets.len() == 2 && secrets.iter().all(|secret| secret.len() == 44));
    for path in [
        "events?limit=1000",
        "key-stores",
        "key-stores/{served}/credentials",
        "keys",
        "keys/{key}",
    ] {
        shown.push(site.send("GET", &format!("/admin/v1/{path}"), None).body.to_string());
    }
    let shown = shown.concat();
    assert!(secrets.iter().all(|secret| !shown.contains(secret.as_str())));
    let key = site.send("GET", "/admin/v1/keys/{key}", None).body;
    let mut fields: Vec<_> = key["versions"][0].as_object().unwrap().keys().cloned().collect();
    fields.sort();
    let known = [
        "backend_key",
        "created",
        "earlier_encryptions",
        "id",
        "number",
        "promoted",
        "state",
    ];
    assert_eq!(fields, known);
}
