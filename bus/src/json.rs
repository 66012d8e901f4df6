//! Which texts are in JSON as they are: what V8 before 13.8 finds out one character at a time.

/// Whether ASCII needs nothing but quotes around it to be JSON.
pub fn is_plain(text: &[u8]) -> bool {
    // Without a way out, so that many bytes are looked at together.
    text.iter().fold(true, |so_far, byte| {
        so_far & (*byte >= b' ') & (*byte != b'"') & (*byte != b'\\') & byte.is_ascii()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_character_anywhere_is_enough() {
        let plain: Vec<u8> = (0..1_000).map(|number| b' ' + (number % 95) as u8).collect();
        let plain: Vec<u8> =
            plain.into_iter().map(|byte| if b"\"\\".contains(&byte) { b'x' } else { byte }).collect();
        assert!(is_plain(&plain) && is_plain(b""));
        for byte in [0, b'\n', 0x1f, b'"', b'\\', 0x80, 0xff] {
            for at in [0, 1, 15, 16, 500, 999] {
                let mut text = plain.clone();
                text[at] = byte;
                assert!(!is_plain(&text), "{byte} at {at}");
            }
        }
        // What JSON leaves as it is.
        assert!(is_plain(b"\x7f/<>&'"));
    }
}
