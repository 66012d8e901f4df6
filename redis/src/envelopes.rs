//! Envelopes that the script has left to the session: it names the key that has them, and the numbers of the messages, which the
//! session holds already.

use redis::{Cmd, RedisResult, Value};

use crate::link::Link;

/// What the script's answer says of messages whose envelopes come later.
const LATER: &[u8] = b"later";

/// Asks for the envelopes that are missing in the answer to a batch, and puts them there. Nothing is changed by it: if the connection is
/// lost meanwhile, the batch is asked for again.
///
/// # Errors
///
/// As those of [`Link::ask`].
pub async fn complete(link: &mut Link, mut answer: Value) -> RedisResult<Value> {
    let Value::Array(rows) = &mut answer else { return Ok(answer) };
    for row in rows {
        let Value::Array(parts) = row else { continue };
        for part in parts {
            let Value::Array(found) = part else { continue };
            if !matches!(found.first(), Some(Value::BulkString(mark)) if mark == LATER) || found.len() < 4 {
                continue;
            }
            let mut command = Cmd::new();
            command.arg("HMGET");
            for field in found[1..2].iter().chain(&found[3..]) {
                if let Value::BulkString(bytes) = field {
                    command.arg(&**bytes);
                }
            }
            let Value::Array(envelopes) = link.ask(&command).await? else { continue };
            *part = with_envelopes(std::mem::take(found), envelopes);
        }
    }
    Ok(answer)
}

/// As the script would have answered: how long they are held, and of each its number and its envelope.
fn with_envelopes(found: Vec<Value>, envelopes: Vec<Value>) -> Value {
    let mut parts = found.into_iter().skip(2);
    let mut messages: Vec<Value> = parts.next().into_iter().collect();
    for (number, envelope) in parts.zip(envelopes) {
        let Value::BulkString(digits) = &number else { continue };
        let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        // Without an envelope somebody else has removed it.
        if let (Some(number), Value::BulkString(_)) = (number, &envelope) {
            messages.push(Value::Int(number));
            messages.push(envelope);
        }
    }
    Value::Array(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn what_somebody_else_has_removed_is_left_out() {
        let found = vec![text("later"), text("key"), Value::Int(30_000), text("7"), text("8"), text("9")];
        let messages = with_envelopes(found, vec![text("a"), Value::Nil, text("c")]);
        let expected = vec![Value::Int(30_000), Value::Int(7), text("a"), Value::Int(9), text("c")];
        assert_eq!(messages, Value::Array(expected));
    }
}
