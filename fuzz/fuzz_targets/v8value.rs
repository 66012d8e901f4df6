//! Internal messages in V8's format.

#![no_main]

use corral::proto::fuzzing::{from_v8, to_v8};
use libfuzzer_sys::fuzz_target;

/// What a message may become, with some room for what JSON adds.
const MOST: usize = 8 << 20;

fuzz_target!(|frame: &[u8]| {
    let Ok(value) = from_v8(frame) else { return };
    assert!(value.to_string().len() <= MOST);
    let written = to_v8(&value);
    assert_eq!(from_v8(&written), Ok(value));
});
