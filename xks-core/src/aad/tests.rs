//! Tests of framing.

use proptest::prelude::*;

use super::*;

fn metadata(bytes: &[u8]) -> CiphertextMetadata {
    bytes.try_into().unwrap()
}

fn bound(framing: AadFraming, aad: Option<&[u8]>, md: Option<&[u8]>) -> Vec<u8> {
    BoundAad::new(framing, aad, md.map(metadata))
        .unwrap()
        .as_bytes()
        .to_vec()
}

/// ENC-7: the specification's own layout.
#[test]
fn spec_framing_is_the_specifications() {
    let spec = |aad, md| bound(AadFraming::Spec, aad, md);
    assert_eq!(spec(None, None), [0, 0, 0]);
    assert_eq!(spec(Some(b""), None), [0, 0, 0]);
    assert_eq!(spec(Some(b"aad"), None), *b"\x00\x03aad\x00");
    assert_eq!(spec(None, Some(b"v=1")), *b"\x00\x00\x03v=1");
    assert_eq!(spec(Some(b"aad"), Some(b"v=1")), *b"\x00\x03aad\x03v=1");
    let long = spec(Some(&[7; 8192]), Some(&[9; 20]));
    assert_eq!(
        (long.len(), &long[..2], long[2 + 8192]),
        (2 + 8192 + 1 + 20, &[0x20, 0][..], 20)
    );
    assert_eq!(spec(Some(&[0; 65_535]), None)[..2], [0xff, 0xff]);
}

/// The layout that the sample proxy's ciphertexts were made with, so that they stay readable.
#[test]
fn digest_framing_is_the_sample_proxys() {
    let digest = |aad, md| bound(AadFraming::Digest, aad, md);
    let hash = |aad: &[u8]| Sha256::digest(aad).to_vec();
    assert_eq!(digest(None, None), [0, 0, 0]);
    assert_eq!(digest(Some(b""), None), [&[0, 0][..], &hash(b""), &[0]].concat());
    assert_eq!(
        digest(Some(b"aad"), Some(b"v=1")),
        [&[0, 3][..], &hash(b"aad"), b"\x03v=1"].concat()
    );
    assert_eq!(digest(Some(&[1; 8192]), Some(&[2; 20])).len(), 55);
}

#[test]
fn aad_that_no_frame_can_express_is_refused() {
    for framing in [AadFraming::Spec, AadFraming::Digest] {
        assert!(BoundAad::new(framing, Some(&[0; 65_535]), None).is_ok());
        assert_eq!(
            BoundAad::new(framing, Some(&[0; 65_536]), None).unwrap_err(),
            AadTooLong
        );
    }
}

#[test]
fn metadata_can_be_bound_again_and_clones_stay_as_they_are() {
    let mut aad = BoundAad::new(AadFraming::Spec, Some(b"aad"), None).unwrap();
    let before = aad.buffer.as_ptr();
    aad.set_metadata(&Parts::default(), Some(metadata(b"first")));
    assert_eq!(aad.buffer.as_ptr(), before, "binding moves nothing");
    let clone = aad.clone();
    aad.set_metadata(&Parts::default(), Some(metadata(b"2")));
    assert_eq!(clone.as_bytes(), b"\x00\x03aad\x05first");
    assert_eq!(aad.as_bytes(), b"\x00\x03aad\x012");
    assert_eq!((clone.raw(), aad.raw()), (&b"aad"[..], &b"aad"[..]));
}

/// ENC-8: marked is `Spec`, and only that; what a backend sees has no mark.
#[test]
fn migrating_says_which_framing_it_used() {
    let framed = |framing, own: Option<&[u8]>| BoundAad::new(framing, Some(b"aad"), own.map(metadata)).unwrap();
    for own in [None, Some(&b"v=1"[..]), Some(&[7; 18]), Some(&[7; 19]), Some(&[7; 20])] {
        let new = framed(AadFraming::Migrating, own);
        let is_marked = own.is_none_or(|own| own.len() <= 18);
        let sent = if is_marked { &AadFraming::MARK[..] } else { &[] };
        let sent = [sent, own.unwrap_or_default()].concat();
        assert_eq!(
            (new.sent_metadata(), new.metadata()),
            (&*sent, own.map(metadata).as_ref())
        );
        assert_eq!(new.check(), Ok(()));
        let same = if is_marked {
            AadFraming::Spec
        } else {
            AadFraming::Digest
        };
        assert_eq!(new.as_bytes(), framed(same, Some(&sent)).as_bytes());

        // On decrypt: the new one as it was bound, and what is not marked as `Digest`.
        for (sent, expected) in [
            (Some(&*sent), &new),
            (own, &framed(AadFraming::Digest, own)),
            (None, &framed(AadFraming::Digest, None)),
        ] {
            let mut again = framed(AadFraming::Migrating, Some(b"bound before"));
            again.set_sent_metadata(sent.filter(|sent| !sent.is_empty()).map(metadata));
            assert_eq!(again.as_bytes(), expected.as_bytes(), "{sent:?}");
            assert_eq!((again.metadata(), again.raw()), (expected.metadata(), &b"aad"[..]));
        }
    }
    let no_aad = BoundAad::new(AadFraming::Migrating, None, Some(metadata(&[7; 20]))).unwrap();
    assert_eq!(no_aad.as_bytes(), bound(AadFraming::Digest, None, Some(&[7; 20])));
}

/// ENC-7: parts of layers stand in front of the backend's own metadata, under one length.
#[test]
fn parts_are_framed_with_the_metadata() {
    let mut parts = Parts::default();
    parts.push(b"outer ");
    parts.push(b"in ");
    for (framing, expected) in [
        (AadFraming::Spec, b"outer in own".to_vec()),
        (AadFraming::Digest, b"outer in own".to_vec()),
        (AadFraming::Migrating, [&AadFraming::MARK[..], b"outer in own"].concat()),
    ] {
        let mut aad = BoundAad::new(framing, Some(b"aad"), None).unwrap();
        aad.set_metadata(&parts, Some(metadata(b"own")));
        assert_eq!(aad.sent_metadata(), expected);
        assert_eq!(aad.metadata(), Some(&metadata(b"own")));
        let same = if framing == AadFraming::Digest {
            framing
        } else {
            AadFraming::Spec
        };
        assert_eq!(aad.as_bytes(), bound(same, Some(b"aad"), Some(&expected)));

        // Each takes its own off, and what is authenticated stays the same.
        let mut sent = BoundAad::new(framing, Some(b"aad"), None).unwrap();
        sent.set_sent_metadata(Some(metadata(&expected)));
        assert_eq!(sent.as_bytes(), aad.as_bytes());
        let (outer, sent) = sent.untag(6).unwrap();
        let (inner, sent) = sent.untag(3).unwrap();
        assert_eq!(
            (outer, inner, sent.metadata()),
            (&b"outer "[..], &b"in "[..], aad.metadata())
        );
        assert!(sent.untag(4).is_none());
        let (own, rest) = sent.untag(3).unwrap();
        assert_eq!((own, rest.metadata()), (&b"own"[..], None));
        assert_eq!((rest.as_bytes(), rest.sent_metadata()), (aad.as_bytes(), &*expected));
        assert!(rest.untag(0).is_some() && rest.untag(1).is_none());

        // As one sees it whose request has the outer part alone.
        aad.see_from(6);
        assert_eq!(aad.metadata(), Some(&metadata(b"in own")));
    }
}

/// ENC-7, ENC-8: twenty bytes with the parts of layers; without room for a mark the framing is the old one.
#[test]
fn parts_and_metadata_have_twenty_bytes() {
    for (part, own, is_marked, fits) in [
        (8, 10, true, true),
        (8, 11, false, true),
        (8, 12, false, true),
        (8, 13, false, false),
        (20, 0, false, true),
        (21, 0, false, false),
        (300, 0, false, false),
    ] {
        let mut parts = Parts::default();
        parts.push(&vec![7; part]);
        let own = [9; 20][..own].try_into().ok();
        for framing in [AadFraming::Spec, AadFraming::Digest, AadFraming::Migrating] {
            let mut aad = BoundAad::new(framing, Some(b"aad"), None).unwrap();
            aad.set_metadata(&parts, own);
            assert_eq!(aad.check().is_ok(), fits, "{framing} {part}");
            let is_marked = is_marked && framing == AadFraming::Migrating;
            assert_eq!(aad.sent_metadata().starts_with(&AadFraming::MARK), is_marked);
            aad.set_metadata(&Parts::default(), own);
            assert_eq!(aad.check(), Ok(()), "it can be bound again");
        }
    }
}

/// ENC-8: a mark for which there was no room would be read as one on decrypt.
#[test]
fn a_mark_that_is_none_is_noticed() {
    let looks_marked = metadata(&[&AadFraming::MARK[..], &[7; 17]].concat());
    for (framing, is_readable) in [(AadFraming::Migrating, false), (AadFraming::Digest, true)] {
        let aad = BoundAad::new(framing, None, Some(looks_marked)).unwrap();
        assert_eq!(aad.check().is_ok(), is_readable);
    }
}

#[test]
fn another_requests_aad_is_known_as_such() {
    let aad = |framing, aad: Option<&[u8]>, md: &[u8]| BoundAad::new(framing, aad, Some(metadata(md))).unwrap();
    let this = aad(AadFraming::Digest, Some(b""), b"1");
    assert!(this.is_of_the_same_request(&this.clone()));
    assert!(this.is_of_the_same_request(&aad(AadFraming::Digest, Some(b""), b"22")));
    let migrating = |md| aad(AadFraming::Migrating, Some(b""), md);
    assert!(
        migrating(b"1").is_of_the_same_request(&migrating(&[7; 20])),
        "in both layouts"
    );
    for other in [
        aad(AadFraming::Spec, Some(b""), b"1"),
        aad(AadFraming::Digest, None, b"1"),
        aad(AadFraming::Digest, Some(b"x"), b"1"),
    ] {
        assert!(!this.is_of_the_same_request(&other) && !other.is_of_the_same_request(&this));
    }
}

proptest! {
    /// ENC-7: two different inputs never have the same frame.
    #[test]
    fn framing_is_injective(
        a in prop::collection::vec(0u8..3, 0..6), b in prop::collection::vec(0u8..3, 0..6),
        m in prop::option::of(prop::collection::vec(0u8..3, 1..4)),
        n in prop::option::of(prop::collection::vec(0u8..3, 1..4)),
        framing in prop_oneof![Just(AadFraming::Spec), Just(AadFraming::Digest), Just(AadFraming::Migrating)],
    ) {
        let left = bound(framing, Some(&a), m.as_deref());
        let right = bound(framing, Some(&b), n.as_deref());
        prop_assert_eq!(left == right, a == b && m == n);
    }

    /// ENC-9 needs the AAD as it came, whatever the framing made of it.
    #[test]
    fn the_raw_aad_survives(a in prop::collection::vec(any::<u8>(), 0..300), digest: bool) {
        let framing = if digest { AadFraming::Digest } else { AadFraming::Spec };
        let aad = BoundAad::new(framing, Some(&a), Some(metadata(b"m"))).unwrap();
        prop_assert_eq!(aad.raw(), &a[..]);
    }
}
