//! What clients send first: the PROXY protocol and HTTP heads, whole and in parts.

#![no_main]

use corral::proto::{KeyBy, Said};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for key in [
        KeyBy::Proxy,
        KeyBy::Forwarded(1),
        KeyBy::Header("x-user".into()),
        KeyBy::Cookie("io".into()),
        KeyBy::Query("sid".into()),
    ] {
        let whole = key.read(bytes);
        // What a part has decided, what follows does not change.
        for end in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
            let part = key.read(&bytes[..end]);
            assert!(
                part == Said::Incomplete || part == whole,
                "{key:?}: {part:?} after {end}, then {whole:?}"
            );
        }
        if let Said::Session(id) = whole {
            assert!(!id.is_empty());
        }
    }
});
