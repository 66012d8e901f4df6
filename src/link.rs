//! What a worker and corral-observe say to each other while somebody observes the cluster, a packet each. This file is part of
//! both addons: bytes without a state.
//!
//! The worker's end is read by a thread of its own, so that it answers while its event loop does not turn. What is longer than a
//! packet comes in several, in their order.

/// The longest packet, in bytes.
pub const MAX_PACKET: usize = 60 << 10;

/// How many bytes stand before those of a packet.
const HEAD: usize = 10;

/// How many bytes of a text a packet has at most.
pub const MAX_PART: usize = MAX_PACKET - HEAD;

/// What a packet is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// To the worker: what does JavaScript do now? From it: the frames of its stack, the innermost first, as JSON.
    Stack,
    /// To the worker: a profile of this many milliseconds, in decimal. From it: the profile, as JSON.
    Profile,
    /// From the worker: why there is no such profile.
    ProfileFailed,
    /// From the worker: the program's own metrics.
    Metrics,
}

const SUBJECTS: [Subject; 4] = [Subject::Stack, Subject::Profile, Subject::ProfileFailed, Subject::Metrics];

/// A packet, or a part of what is longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub subject: Subject,
    /// The number of the request that is asked or answered; 0 of what nobody has asked for.
    pub id: u64,
    /// No other part follows.
    pub is_last: bool,
    pub bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// As it travels. It is not longer than [`MAX_PACKET`] if `bytes` is not longer than [`MAX_PART`].
    pub fn encode(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(HEAD + self.bytes.len());
        let place = SUBJECTS.iter().position(|subject| *subject == self.subject);
        packet.push(place.map_or(0, |place| place as u8 + 1));
        packet.extend(self.id.to_le_bytes());
        packet.push(u8::from(self.is_last));
        packet.extend(self.bytes);
        packet
    }

    /// None of what is no packet.
    pub fn decode(packet: &'a [u8]) -> Option<Self> {
        let (head, bytes) = packet.split_at_checked(HEAD)?;
        let subject = *SUBJECTS.get(usize::from(head[0]).checked_sub(1)?)?;
        let id = u64::from_le_bytes(head[1..9].try_into().ok()?);
        let is_last = match head[9] {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Packet { subject, id, is_last, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_nothing_else_is_a_packet() {
        for subject in SUBJECTS {
            let packet = Packet { subject, id: u64::MAX - 1, is_last: true, bytes: b"text" };
            let encoded = packet.encode();
            assert_eq!(Packet::decode(&encoded), Some(packet));
            for length in 0..HEAD {
                assert_eq!(Packet::decode(&encoded[..length]), None);
            }
        }
        let valid = Packet { subject: Subject::Stack, id: 1, is_last: false, bytes: b"" }.encode();
        for (place, wrong) in [(0, 0), (0, 5), (0, 255), (9, 2)] {
            let mut bytes = valid.clone();
            bytes[place] = wrong;
            assert_eq!(Packet::decode(&bytes), None);
        }
    }

    #[test]
    fn a_full_part_makes_the_longest_packet() {
        let bytes = vec![0; MAX_PART];
        let packet = Packet { subject: Subject::Metrics, id: 0, is_last: false, bytes: &bytes };
        assert_eq!(packet.encode().len(), MAX_PACKET);
    }
}
