//! What the script publishes to a session: that there is something in a queue, or what there is.

use std::sync::Arc;

use corral_bus::protocol::{Delivered, Receipt};

#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// There may be something in this queue, or nothing any more.
    Look(Arc<str>),
    /// These are the session's from now on, as of what it has asked under that token.
    Handed { queue: Arc<str>, token: u64, messages: Vec<Delivered> },
}

/// Reads them; `None` if they are none.
pub fn read(bytes: &[u8]) -> Option<News> {
    match bytes.split_first()? {
        (b'w', queue) => Some(News::Look(Arc::from(std::str::from_utf8(queue).ok()?))),
        (b'h', rest) => handed(rest),
        _ => None,
    }
}

/// The token, how long they are held, the length of the queue's name, that name, and of each message its number, the length of its
/// envelope, and that envelope.
fn handed(mut rest: &[u8]) -> Option<News> {
    let token = number(&mut rest)?;
    let visibility = number(&mut rest)?;
    let length = number(&mut rest)?;
    let queue = Arc::from(std::str::from_utf8(take(&mut rest, length)?).ok()?);
    let group: Arc<str> = Arc::from("");
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let receipt = Receipt { message: number(&mut rest)?, delivery: 1 };
        let length = number(&mut rest)?;
        let envelope = Arc::from(take(&mut rest, length)?);
        let group = Arc::clone(&group);
        messages.push(Delivered { receipt, visibility, priority: 0, group, dead: None, envelope });
    }
    Some(News::Handed { queue, token, messages })
}

/// Digits, and the space behind them.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let end = rest.iter().position(|byte| *byte == b' ')?;
    let digits = std::str::from_utf8(&rest[..end]).ok()?;
    *rest = &rest[end + 1..];
    digits.parse().ok()
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = behind;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_may_have_any_bytes() {
        let Some(News::Handed { queue, token, messages }) = read(b"h7 30000 5 a b w12 3 \0 718 0 ") else {
            panic!("it is news")
        };
        assert_eq!((&*queue, token), ("a b w", 7));
        let read: Vec<_> = messages.iter().map(|one| (one.receipt.message, &*one.envelope)).collect();
        assert_eq!(read, [(12, &b"\0 7"[..]), (18, &b""[..])]);
        assert_eq!((messages[0].visibility, messages[0].receipt.delivery), (30_000, 1));
    }

    #[test]
    fn what_is_no_news_is_none() {
        assert_eq!(read(b"wjobs"), Some(News::Look(Arc::from("jobs"))));
        for bytes in [&b""[..], b"x", b"w\xff", b"h", b"h1 2 9 jobs", b"h1 2 4 jobs12 5 abc", b"h1 -2 4 jobs"]
        {
            assert_eq!(read(bytes), None);
        }
    }
}
