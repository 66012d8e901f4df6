use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn reads_what_node_writes() {
    // v8.serialize({cmd: 'NODE_CLUSTER', act: 'x', fd: undefined, port: -1, big: 2**40, ok: true, n: null})
    let frame = b"\xff\x0fo\"\x03cmd\"\x0cNODE_CLUSTER\"\x03act\"\x01x\"\x02fd_\"\x04portI\x01\"\x03bigN\x00\x00\x00\x00\x00\x00pB\"\x02okT\"\x01n0{\x07";
    let expected =
        json!({"cmd": "NODE_CLUSTER", "act": "x", "port": -1, "big": 1u64 << 40, "ok": true, "n": null});
    assert_eq!(from_v8(frame).unwrap(), expected);
    // const o = {k: 1}; v8.serialize({cmd: 'x', a: o, b: o, c: [o, [o]]})
    let frame = b"\xff\x0fo\"\x03cmd\"\x01x\"\x01ao\"\x01kI\x02{\x01\"\x01b^\x01\"\x01cA\x02^\x01A\x01^\x01$\x00\x01$\x00\x02{\x04";
    let o = json!({"k": 1});
    assert_eq!(from_v8(frame).unwrap(), json!({"cmd": "x", "a": o, "b": o, "c": [o, [o]]}));
    // v8.serialize({'\u0436': '\u0437\u{1f600}', '\xe9': '\xfc', 5: 6, f: 1.5, a: [undefined, null, true, false]})
    let frame = b"\xff\x0foI\x0aI\x0c\x00c\x026\x04\x00c\x067\x04=\xd8\x00\xde\"\x01\xe9\"\x01\xfc\"\x01fN\x00\x00\x00\x00\x00\x00\xf8?\"\x01aA\x04_0TF$\x00\x04{\x05";
    let expected = json!({
        "5": 6, "\u{436}": "\u{437}\u{1f600}", "\u{e9}": "\u{fc}", "f": 1.5, "a": [null, null, true, false],
    });
    assert_eq!(from_v8(frame).unwrap(), expected);
    // v8.serialize(Object.assign([1, 2], {x: 'y'}))
    let frame = b"\xff\x0fA\x02I\x02I\x04\"\x01x\"\x01y$\x01\x02";
    assert_eq!(from_v8(frame).unwrap(), json!([1, 2]));
}

#[test]
fn writes_what_node_writes() {
    // v8.serialize({a: [1, -2, 'x'], b: '\u0436', c: 1.5, d: null, e: {}})
    let message = json!({"a": [1, -2, "x"], "b": "\u{436}", "c": 1.5, "d": null, "e": {}});
    let frame: &[u8] = b"\xff\x0fo\"\x01aA\x03I\x02I\x03\"\x01x$\x00\x03\"\x01b\x00c\x026\x04\"\x01cN\x00\x00\x00\x00\x00\x00\xf8?\"\x01d0\"\x01eo{\x00{\x05";
    assert_eq!(to_v8(&message), frame);
}

#[test]
fn what_it_writes_it_reads() {
    let message = json!({"a": "\u{e4}\u{1f600}", "b": {"ticketKeys": "00ff"}, "c": 1.5, "d": 4294967296u64, "e": [false, {"f": 1}]});
    assert_eq!(from_v8(&to_v8(&message)).unwrap(), message);
}

#[test]
fn a_cycle_is_refused() {
    // const m = {cmd: 'x'}; m.self = m; v8.serialize(m)
    let frame = b"\xff\x0fo\"\x03cmd\"\x01x\"\x04self^\x00{\x02";
    assert!(from_v8(frame).unwrap_err().contains("nested"));
}

/// An array with this element and so many references to it.
fn repeated(first: &[u8], references: usize) -> Vec<u8> {
    let mut frame = b"\xff\x0fA".to_vec();
    write_varint(references as u64 + 1, &mut frame);
    frame.extend(first);
    (0..references).for_each(|_| frame.extend(b"^\x01"));
    frame.push(ARRAY_END);
    write_varint(0, &mut frame);
    write_varint(references as u64 + 1, &mut frame);
    frame
}

#[test]
fn references_to_what_is_large_do_not_multiply_it() {
    let text = json!({ "text": "x".repeat(900_000) });
    let padding = [b"o".as_slice(), &[PADDING; 900_000], b"{\x00"].concat();
    for large in [to_v8(&text)[2..].to_vec(), padding] {
        assert!(from_v8(&repeated(&large, 1)).is_ok());
        let error = from_v8(&repeated(&large, 9000)).unwrap_err();
        assert!(error.contains("too much") && error.len() < 100, "{error}");
    }
}

#[test]
fn references_to_references_do_not_multiply_either() {
    // Each of 14 objects has ten references to the one before it.
    let mut frame = b"\xff\x0fA\x0e".to_vec();
    for number in 0..14u8 {
        frame.push(OBJECT);
        for key in b'a'..=b'j' {
            frame.extend([LATIN1, 1, key, REFERENCE, number]);
        }
        frame.extend([OBJECT_END, 10]);
    }
    frame.extend(b"$\x00\x0e");
    assert!(from_v8(&frame).is_err());
}

/// Found by fuzzing: for each empty buffer one byte was never freed.
#[test]
fn an_empty_buffer_is_refused_as_any_other() {
    assert_eq!(from_v8(b"\xff\x0eB\x00"), Err(NOT_PLAIN.to_owned()));
    assert_eq!(from_v8(b"\xff\x0e\x00~\x00\xff\x00\x00\x00\xff\x0a"), Err(NOT_PLAIN.to_owned()));
}

#[test]
fn what_is_no_plain_data_is_refused_in_few_words() {
    let zeros = |tag: u8| {
        // V8 would print a BigInt, or a key, as long as the message itself.
        let mut frame = b"\xff\x0fo\"\x01k".to_vec();
        frame.push(tag);
        write_varint(1_000_000 << 1, &mut frame);
        frame.resize(frame.len() + 1_000_000, 0xff);
        frame
    };
    let as_key = [b"\xff\x0foZ".as_slice(), &zeros(b'Z')[6..]].concat();
    let date = b"\xff\x0fD\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
    for frame in [zeros(b'Z'), as_key, date, zeros(b'r'), zeros(b'\\')] {
        assert!(from_v8(&frame).unwrap_err().len() < 100);
    }
}

#[test]
fn what_breaks_off_or_is_counted_wrong_is_refused() {
    let whole = b"\xff\x0fo\"\x01aA\x02I\x02I\x04$\x00\x02\"\x01b\"\x01x{\x02";
    assert!(from_v8(whole).is_ok());
    for end in 0..whole.len() {
        assert!(from_v8(&whole[..end]).is_err(), "up to {end}");
    }
    for wrong in [
        b"\xff\x0fo{\x01".as_slice(),
        b"\xff\x0fA\x00$\x01\x00",
        b"\xff\x0fA\x00$\x00\x01",
        b"\xff\x0fo\"\x01a^\x07{\x01",
        b"\xff\x0fo\"\x01aI\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff{\x01",
        b"\xff\x0fo\"\x01ac\x03abc{\x01",
        b"\xff\x0fo\"\xff\xff\xff\xff\xff\xff\xff\xff\x7fa",
        b"\xff\x0c0",
        b"\xff\x100",
        b"0",
    ] {
        assert!(from_v8(wrong).is_err(), "{wrong:?}");
    }
}

fn any_message() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i32>().prop_map(Json::from),
        any::<f32>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| number(value.into())),
        any::<String>().prop_map(Json::from),
        "[a-z]{0,9}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|pairs| Json::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn garbage_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut frame = b"\xff\x0fo\"\x03cmd\"\x0cNODE_CLUSTER".to_vec();
        frame.extend(bytes);
        let _ = from_v8(&frame);
    }

    #[test]
    fn tags_in_any_order_are_an_error_and_never_a_panic(
        bytes in prop::collection::vec(
            prop::sample::select(b"\x00\x01\x02\x7f\x80\xffo{A$a@^IUNc\"S_0TFZD\\-".to_vec()),
            0..60,
        ),
    ) {
        let _ = from_v8(&[b"\xff\x0f".as_slice(), &bytes].concat());
    }

    #[test]
    fn every_message_is_read_as_it_was_written(message in any_message()) {
        prop_assert_eq!(from_v8(&to_v8(&message)).unwrap(), message);
    }
}
