//! Tests that write stored forms and read them back.

use store_core::Collection;

use super::*;

const THINGS: Collection = Collection::new("things");

fn at() -> RecordRef<'static> {
    RecordRef::new("p \"1\"", THINGS, "a/ä").expect("short")
}

fn image(content: Content) -> Image {
    Image {
        version: Version::unique(),
        expires_at: Some(Timestamp::from_nanos(1_893_456_000_123_456_789)),
        content,
    }
}

#[test]
fn what_was_written_is_read_back() {
    let json = image(Content::Json("{\"a\":1}".into()));
    let bytes = image(Content::Bytes("\n\0\u{ff}".into()));
    let deleted = Image::deleted(Version::unique());
    let intent = |before: Option<&Image>, after: Option<&Image>| {
        Stored::Intent(Intent {
            transaction: Version::unique(),
            before: before.cloned(),
            after: after.cloned(),
        })
    };
    for stored in [
        Stored::Record(json.clone()),
        Stored::Record(bytes.clone()),
        Stored::Record(deleted.clone()),
        intent(Some(&json), Some(&bytes)),
        intent(None, Some(&deleted)),
        intent(Some(&bytes), None),
        intent(None, None),
    ] {
        let object = encode(at(), &stored);
        assert_eq!(decode_at(at(), &object).expect("just written"), stored);
        let token = token("\"e\"", &object);
        assert_eq!(open_token(&token), Some(("\"e\"", object.clone())));
        for end in 0..object.len() {
            assert!(decode(&object.slice(..end)).is_err(), "{end}");
        }
    }
}

#[test]
fn a_stored_record_is_readable_text() {
    let mut image = image(Content::Json("{\"name\":\"Alice\"}".into()));
    image.version = Version::from_bytes([1; 16]);
    let at = RecordRef::new("acme", THINGS, "alice").expect("short");
    assert_eq!(
        encode(at, &Stored::Record(image)),
        "{\"store\":1,\"collection\":\"things\",\"partition\":\"acme\",\"id\":\"alice\",\
         \"record\":{\"version\":\"01010101010101010101010101010101\",\
         \"expires_at\":\"2030-01-01T00:00:00.123456789Z\",\"body\":\"json\",\"length\":16}}\n\
         {\"name\":\"Alice\"}"
    );
}

/// Objects as release 0.1 stores them, which every later release must read.
#[test]
fn the_stored_forms_of_this_release_are_read() {
    let at = RecordRef::new("acme", Collection::new("things"), "alice").expect("short");
    let version = |byte| Version::from_bytes([byte; 16]);
    let ada = Image {
        version: version(1),
        expires_at: Some(Timestamp::from_nanos(1_893_456_000_123_456_789)),
        content: Content::Json("{\"name\":\"Ada\"}".into()),
    };
    let bytes = Image {
        version: version(2),
        expires_at: None,
        content: Content::Bytes("\n\0".into()),
    };
    let head = "{\"store\":1,\"collection\":\"things\",\"partition\":\"acme\",\"id\":\"alice\",";
    let ada_state = "{\"version\":\"01010101010101010101010101010101\",\
        \"expires_at\":\"2030-01-01T00:00:00.123456789Z\",\"body\":\"json\",\"length\":14}";
    let bytes_state =
        "{\"version\":\"02020202020202020202020202020202\",\"body\":\"bytes\",\"length\":2}";
    let deleted_state =
        "{\"version\":\"03030303030303030303030303030303\",\"body\":\"none\",\"length\":0}";
    let request = "\"request\":\"04040404040404040404040404040404\",";
    let transaction = "\"transaction\":\"05050505050505050505050505050505\"";
    let intent = |before: Option<&Image>, after: Option<Image>| {
        Stored::Intent(Intent {
            transaction: version(5),
            before: before.cloned(),
            after,
        })
    };
    let forms = [
        (
            format!("{head}\"record\":{ada_state}}}\n{{\"name\":\"Ada\"}}"),
            Stored::Record(ada.clone()),
        ),
        (
            format!("{head}{request}\"record\":{bytes_state}}}\n\n\0"),
            Stored::Record(bytes.clone()),
        ),
        (
            "{\"store\":1,\"deleted\":\"03030303030303030303030303030303\"}\n".into(),
            Stored::Record(Image::deleted(version(3))),
        ),
        (
            format!(
                "{head}\"intent\":{{{transaction},\"before\":{ada_state},\"after\":{bytes_state}}}}}\n\
                 {{\"name\":\"Ada\"}}\n\0"
            ),
            intent(Some(&ada), Some(bytes.clone())),
        ),
        (
            format!(
                "{head}\"intent\":{{{transaction},\"before\":null,\"after\":{deleted_state}}}}}\n"
            ),
            intent(None, Some(Image::deleted(version(3)))),
        ),
    ];
    for (object, stored) in forms {
        let read = decode_at(at, &object.clone().into()).expect("a stored form");
        assert_eq!(read, stored, "{object}");
        // This release writes the same form.
        if !object.contains("request") {
            assert_eq!(encode(at, &stored), object);
        }
    }
}

/// A transaction as release 0.1 stores it, which every later release must read.
#[test]
fn the_stored_forms_of_a_transaction_are_read() {
    let member = |collection: &str, id: &str| Member {
        collection: collection.into(),
        id: id.into(),
    };
    let pending = Transaction::new(
        &Partition::new("acme").expect("short"),
        Version::from_bytes([1; 16]),
        vec![member("things", "alice"), member("others", "a/ä")],
    );
    for (state, verdict) in [
        ("pending", Verdict::Pending),
        ("committed", Verdict::Committed),
        ("aborted", Verdict::Aborted),
    ] {
        let form = format!(
            "{{\"store\":1,\"state\":\"{state}\",\"partition\":\"acme\",\
             \"version\":\"01010101010101010101010101010101\",\
             \"items\":[{{\"collection\":\"things\",\"id\":\"alice\"}},\
             {{\"collection\":\"others\",\"id\":\"a/ä\"}}]}}"
        );
        let transaction = pending.decided(verdict);
        assert_eq!(transaction.encode(), form);
        let read = Transaction::decode(form.as_bytes()).expect("a stored form");
        assert_eq!(read, transaction);
    }
}

#[test]
fn an_object_of_another_key_or_of_a_newer_release_is_refused() {
    let deleted = Stored::Record(Image::deleted(Version::unique()));
    let there = Stored::Record(image(Content::Json("1".into())));
    let other = RecordRef::new("p", THINGS, "a/ä").expect("short");
    assert!(decode_at(other, &encode(at(), &there)).is_err());
    for stored in [deleted, there] {
        let later = encode(at(), &stored);
        let later = String::from_utf8_lossy(&later).replace("\"store\":1", "\"store\":2");
        let error = decode(&later.into()).expect_err("it is newer");
        assert!(error.message().contains("upgrade"), "{error}");
    }
}

#[test]
fn a_tombstone_is_shorter_than_any_other_object() {
    let deleted = || Image::deleted(Version::unique());
    let length = |object: Bytes| object.len() as u64;
    assert!(length(encode_once(at(), deleted())) <= MAX_TOMBSTONE);
    assert!(length(encode(at(), &Stored::Record(deleted()))) <= MAX_TOMBSTONE);
    let shortest = RecordRef::new("", Collection::new("c"), "").expect("short");
    let mut image = image(Content::Bytes(Bytes::new()));
    image.expires_at = None;
    let intent = Stored::Intent(Intent {
        transaction: Version::unique(),
        before: None,
        after: None,
    });
    assert!(length(encode(shortest, &Stored::Record(image))) > MAX_TOMBSTONE);
    assert!(length(encode(shortest, &intent)) > MAX_TOMBSTONE);
}
