//! The first line of a channel over a named socket.

#![no_main]

use corral::proto::Hello;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    if let Ok(hello) = Hello::parse(line) {
        let written = hello.encode();
        let read = Hello::parse(&written[..written.len() - 1]);
        // A refusal names the version of whoever says it.
        assert!(matches!(hello, Hello::Refused(_)) || read == Ok(hello));
    }
});
