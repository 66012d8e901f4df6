//! Peers that speak something else than Node's channel, by what they begin with.

use super::attachment::MARK;
use super::names::{PREFIX, V8_HEADER};
use super::serialization::Serialization;

/// What Bun 1.4 begins with on a channel with JSON: a byte in front of the first message.
const BUN_JSON: u8 = 2;
/// The same on one with `advanced`: the version of its own format, little-endian, behind the kind of packet.
const BUN_ADVANCED: &[u8] = &[1, 2, 0, 0, 0];

const BUN: &str = "the peer speaks Bun's channel, which is not Node's";
const NEITHER: &str = "neither V8's format nor JSON: the peer does not speak Node's channel";

/// Looks at the first bytes of a stream, as many as have arrived. In V8's format a length would otherwise be read from them for
/// whose bytes the channel waits, and as a rule they never come.
///
/// Errors: what the peer speaks.
pub fn check_beginning(serialization: Serialization, bytes: &[u8]) -> Result<(), &'static str> {
    match serialization {
        Serialization::Json if bytes.first() == Some(&BUN_JSON) => Err(BUN),
        Serialization::Json => Ok(()),
        Serialization::Advanced if bytes.starts_with(BUN_ADVANCED) => Err(BUN),
        Serialization::Advanced => match bytes.split_first_chunk::<PREFIX>() {
            // An empty frame: what follows is the length of the next.
            Some(([0, 0, 0, 0], _)) => Ok(()),
            Some((_, [first, ..])) if !begins_a_frame(*first) => Err(NEITHER),
            _ => Ok(()),
        },
    }
}

/// Whether a frame of an `advanced` channel may begin with a byte: in V8's format, or, from a corral, with attachments or in JSON.
fn begins_a_frame(byte: u8) -> bool {
    byte == V8_HEADER || byte == MARK || byte.is_ascii_graphic() || byte.is_ascii_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bun_is_known_by_its_first_bytes() {
        let json = b"\x02{\"cmd\":\"NODE_CLUSTER\",\"act\":\"online\",\"seq\":0}\n";
        assert_eq!(check_beginning(Serialization::Json, json), Err(BUN));
        let advanced = b"\x01\x02\x00\x00\x00\x03;\x00\x00\x00\x0e\x00\x00\x00\x02\x03\x00\x00\x80cmd";
        assert_eq!(check_beginning(Serialization::Advanced, advanced), Err(BUN));
        assert_eq!(check_beginning(Serialization::Advanced, &advanced[..5]), Err(BUN));
    }

    #[test]
    fn what_begins_as_node_or_corral_does_is_let_through_however_little_has_arrived() {
        let streams: [(Serialization, &[u8]); 5] = [
            (Serialization::Json, b"{\"cmd\":\"NODE_CLUSTER\"}\n"),
            (Serialization::Advanced, b"\x00\x00\x00\x2c\xff\x0fo\"\x03cmd"),
            (Serialization::Advanced, b"\x00\x00\x00\x07{\"a\":1}"),
            (Serialization::Advanced, b"\x00\x00\x00\x20\x01l20;{}"),
            (Serialization::Advanced, b"\x00\x00\x00\x00\x00\x00\x00\x02{}"),
        ];
        for (serialization, bytes) in streams {
            for length in 0..=bytes.len() {
                assert_eq!(check_beginning(serialization, &bytes[..length]), Ok(()), "{bytes:?} {length}");
            }
        }
    }

    #[test]
    fn what_no_peer_of_ours_begins_with_is_refused_before_its_length_has_arrived() {
        let announced = b"\x02\x23\x00\x00\x00";
        assert_eq!(check_beginning(Serialization::Advanced, announced), Err(NEITHER));
        assert_eq!(check_beginning(Serialization::Advanced, &announced[..4]), Ok(()));
    }
}
