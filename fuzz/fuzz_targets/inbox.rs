//! What a peer sends on a channel, with descriptors, and memory in which it says that pieces are, through the kernel.

#![no_main]

use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use corral::channel::{Extent, Inbox, MEMORY_LENGTH, ReadStatus, Segment};
use corral::os::{self, Memory};
use corral::proto::Serialization;
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 64 << 10;
/// Long enough for whatever a few frames can do, and no more than the descriptors that a process may have.
const MOST_STEPS: usize = 32;

#[derive(Arbitrary, Debug)]
enum Gift {
    Nothing,
    Memory,
    Something,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Write(Vec<u8>, Gift),
    /// A frame that offers memory, which hardly comes about by itself.
    Offer(Gift),
    /// A message with a piece there, of so many bytes.
    Shared {
        offset: u32,
        length: u32,
    },
    Read(bool),
    ReadMessages(u8),
    /// The program has let go of a piece.
    Release(u8),
}

#[derive(Arbitrary, Debug)]
struct Peer {
    advanced: bool,
    is_corral: bool,
    steps: Vec<Step>,
}

static MEMORY: LazyLock<OwnedFd> =
    LazyLock::new(|| Memory::create(c"fuzz", MEMORY_LENGTH).expect("no memory").1);

fn write(socket: &OwnedFd, bytes: &[u8], gift: &Gift) {
    let gift = match gift {
        Gift::Nothing => None,
        Gift::Memory => Some(MEMORY.as_fd()),
        Gift::Something => Some(socket.as_fd()),
    };
    // What finds no room is lost, which cuts a frame short like anything else.
    if !bytes.is_empty() {
        let _ = os::send(socket.as_fd(), &[IoSlice::new(bytes)], gift);
    }
}

fn framed(serialization: Serialization, body: &[u8]) -> Vec<u8> {
    match serialization {
        Serialization::Json => [body, b"\n"].concat(),
        Serialization::Advanced => [&(body.len() as u32).to_be_bytes(), body].concat(),
    }
}

/// Pieces that the program holds are within the memory, and no two are at one place.
fn hold(held: &mut Vec<(Range<usize>, Segment)>, segments: Vec<Segment>) {
    for segment in segments {
        let start = segment.pointer() as usize;
        let place = start..start + segment.len();
        // SAFETY: this is what is looked into: every byte that a piece has can be read.
        unsafe { segment.pointer().read_volatile() };
        // SAFETY: as above.
        unsafe { segment.pointer().add(segment.len() - 1).read_volatile() };
        assert!(held.iter().all(|(other, _)| other.end <= place.start || place.end <= other.start));
        held.push((place, segment));
    }
}

fuzz_target!(|peer: Peer| {
    let serialization = if peer.advanced { Serialization::Advanced } else { Serialization::Json };
    let pair = os::socket_pair().expect("no sockets");
    for end in [&pair.ours, &pair.theirs] {
        os::set_nonblocking(end.as_fd()).expect("no sockets");
    }
    let mut inbox = Inbox::new(serialization, LIMIT);
    if peer.is_corral {
        inbox.accept_attachments();
    }
    let mut held = Vec::new();
    for step in peer.steps.into_iter().take(MOST_STEPS) {
        match step {
            Step::Write(bytes, gift) => write(&pair.theirs, &bytes, &gift),
            Step::Offer(gift) => {
                let body: &[u8] = match serialization {
                    Serialization::Json => b"{\"cmd\":\"NODE_CORRAL_MEMORY\"}",
                    Serialization::Advanced => b"\xff\x0fo\"\x03cmd\"\x12NODE_CORRAL_MEMORY{\x01",
                };
                write(&pair.theirs, &framed(serialization, body), &gift);
            }
            Step::Shared { offset, length } => {
                let body = format!("\x01b{length}@{offset};1");
                write(&pair.theirs, &framed(serialization, body.as_bytes()), &Gift::Nothing);
            }
            Step::Read(is_all) => {
                let extent = if is_all { Extent::Left } else { Extent::Ready };
                let mut segments = Vec::new();
                let status = inbox.read(pair.ours.as_fd(), extent, |frame| {
                    assert!(frame.length() <= LIMIT);
                    segments.extend(frame.segments);
                    frame.bytes.into_owned_frame();
                });
                hold(&mut held, segments);
                if matches!(status, ReadStatus::Broken(_)) {
                    return;
                }
            }
            Step::ReadMessages(most) => {
                let mut segments = Vec::new();
                inbox.read_messages(pair.ours.as_fd(), most.into(), |frame, more| {
                    segments.extend(more);
                    frame.into_owned_frame();
                });
                hold(&mut held, segments);
            }
            Step::Release(which) => {
                if !held.is_empty() {
                    held.swap_remove(usize::from(which) % held.len());
                }
            }
        }
    }
});
