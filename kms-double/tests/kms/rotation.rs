//! Rotation on demand: sets of material, and what each of it still decrypts.

use kms_double::kms::{ExceptionName as Name, api::*};

use crate::{
    importing::{DAY, Importing, material},
    site::{alice, name},
};

#[tokio::test]
async fn what_each_material_has_encrypted_stays_readable() {
    use KeyMaterialState::{Current, NonCurrent, PendingRotation};
    let site = Importing::new().await;
    let states = async || -> Vec<_> {
        let all = site.all_material().await;
        all.iter()
            .map(|entry| (entry.key_material_id.clone(), entry.key_material_state))
            .collect()
    };
    let first = site.import(&material(1), |_| ()).await.unwrap();
    let old = site.encrypt(b"old").await.unwrap().ciphertext_blob;
    assert_eq!(name(site.rotate().await), Name::InvalidState, "nothing to rotate to");

    let second = site.import_new(&material(2)).await.unwrap();
    assert_eq!(
        states().await,
        [(first.clone(), Current), (second.clone(), PendingRotation)]
    );
    assert_eq!(site.described().await.current_key_material_id, Some(first.clone()));
    // One at a time; the same one may be imported again, as with another end.
    assert_eq!(name(site.import_new(&material(3)).await), Name::InvalidState);
    assert_eq!(name(site.import_new(&material(2)).await), Name::IncorrectKeyMaterial);
    site.import(&material(2), |_| ()).await.unwrap();

    site.rotate().await.unwrap();
    assert_eq!(states().await, [(first.clone(), NonCurrent), (second.clone(), Current)]);
    assert_eq!(site.described().await.current_key_material_id, Some(second.clone()));
    let new = site.encrypt(b"new").await.unwrap().ciphertext_blob;
    let decrypted = site.decrypt(&old).await.unwrap();
    assert_eq!(
        (&*decrypted.plaintext, decrypted.key_material_id),
        (&b"old"[..], Some(first.clone()))
    );
    let decrypted = site.decrypt(&new).await.unwrap();
    assert_eq!(
        (&*decrypted.plaintext, decrypted.key_material_id),
        (&b"new"[..], Some(second.clone()))
    );

    // Without any of it the key cannot be used at all.
    site.delete(Some(&first)).await.unwrap();
    assert_eq!(site.state().await, KeyState::PendingImport);
    for blob in [&old, &new] {
        assert_eq!(name(site.decrypt(blob).await), Name::InvalidState);
    }
    assert_eq!(name(site.import_new(&material(1)).await), Name::IncorrectKeyMaterial);
    site.import(&material(1), |_| ()).await.unwrap();
    for blob in [&old, &new] {
        site.decrypt(blob).await.unwrap();
    }

    let listed = site.kms.list_key_rotations(&alice(), rotations(&site)).await.unwrap();
    assert_eq!(listed.rotations.len(), 1, "the first one came by no rotation");
    let entry = &listed.rotations[0];
    assert_eq!(
        (&entry.key_material_id, entry.rotation_type),
        (&second, Some("ON_DEMAND"))
    );
    assert!(entry.rotation_date.is_some());
    let status = site.kms.get_key_rotation_status(&alice(), site.id()).await.unwrap();
    assert!(!status.key_rotation_enabled);
}

fn rotations(site: &Importing) -> ListKeyRotationsRequest {
    let mut request = ListKeyRotationsRequest::all(&site.key_id);
    request.include_key_material = None;
    request
}

#[tokio::test]
async fn material_that_waits_for_its_rotation_can_be_given_up() {
    let site = Importing::new().await;
    site.import(&material(1), |_| ()).await.unwrap();
    let second = site.import_new(&material(2)).await.unwrap();
    site.delete(Some(&second)).await.unwrap();
    assert_eq!(
        (site.state().await, site.all_material().await.len()),
        (KeyState::Enabled, 1)
    );
    assert_eq!(name(site.delete(Some(&second)).await), Name::NotFound);
    let end = site.clock.now() + DAY.as_secs_f64();
    let third = material(3);
    let expiring = site.import(&third, |request| {
        request.import_type = Some(ImportType::NewKeyMaterial);
        (request.expiration_model, request.valid_to) = (None, Some(end));
    });
    expiring.await.unwrap();
    assert_eq!(
        site.described().await.valid_to,
        None,
        "it does not belong to the key for good"
    );
    site.clock.advance(DAY);
    assert_eq!(
        (site.state().await, site.all_material().await.len()),
        (KeyState::Enabled, 1)
    );
    assert_eq!(name(site.rotate().await), Name::InvalidState);
}

#[tokio::test]
async fn the_first_end_of_any_material_is_the_keys() {
    let site = Importing::new().await;
    let end = site.clock.now() + DAY.as_secs_f64();
    let first = material(1);
    let first = site.import(&first, |request| {
        (request.expiration_model, request.valid_to) = (None, Some(end));
    });
    first.await.unwrap();
    site.import_new(&material(2)).await.unwrap();
    site.rotate().await.unwrap();
    assert_eq!(site.described().await.valid_to, Some(end));
    site.clock.advance(DAY);
    assert_eq!(
        site.state().await,
        KeyState::PendingImport,
        "though the current one is there"
    );
    assert_eq!(name(site.rotate().await), Name::InvalidState);
}

#[tokio::test]
async fn the_26th_rotation_is_refused() {
    let site = Importing::new().await;
    site.import(&material(0), |_| ()).await.unwrap();
    for number in 1..=25 {
        site.import_new(&material(number)).await.unwrap();
        site.rotate().await.unwrap();
    }
    site.import_new(&material(26)).await.unwrap();
    assert_eq!(name(site.rotate().await), Name::LimitExceeded);

    let mut request = ListKeyRotationsRequest::all(&site.key_id);
    let mut seen = Vec::new();
    request.limit = Some(10);
    loop {
        let page = site.kms.list_key_rotations(&alice(), request.clone()).await.unwrap();
        assert_eq!(page.truncated, page.next_marker.is_some());
        seen.extend(page.rotations.into_iter().map(|entry| entry.key_material_id));
        request.marker = page.next_marker;
        if request.marker.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 27);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 27);
}
