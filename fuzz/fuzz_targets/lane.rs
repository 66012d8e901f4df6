//! The messages of a lane, in both directions.

#![no_main]

use corral::proto::{FromWorker, MAX_LANE_MESSAGE, ToLane};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let bytes = &bytes[..bytes.len().min(MAX_LANE_MESSAGE)];
    let mut written = Vec::new();
    if let Ok(message) = ToLane::decode(bytes) {
        message.encode(&mut written);
        assert_eq!(written, bytes);
    }
    if let Ok(message) = FromWorker::decode(bytes) {
        message.encode(&mut written);
        assert!(written.len() <= MAX_LANE_MESSAGE);
        let read = FromWorker::decode(&written);
        // The words of a reason may not be text, or be too many.
        assert!(matches!(message, FromWorker::Unusable { .. }) || read.as_ref() == Ok(&message));
    }
});
