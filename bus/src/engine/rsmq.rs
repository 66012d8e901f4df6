//! What `corral/rsmq` asks for, which a store does by itself: its calls that change something are carried out once, as all
//! changes are.

use std::sync::Arc;

use super::{Engine, Output};
use crate::error::Fault;
use crate::protocol::{Reply, Request};
use crate::store::Outcome;

impl Engine {
    /// Who listens hears of messages that were sent.
    pub(super) fn rsmq(&mut self, call: &str, arguments: &[Arc<[u8]>], now: u64) -> Result<Reply, Fault> {
        let answer = match self.store.rsmq(call, arguments, now)? {
            Ok(answer) => answer,
            Err(refusal) => return Ok(Reply::Failed(refusal)),
        };
        if let Some((topic, body)) = answer.publishes {
            self.outputs.push(Output::Publish { topic, body, asked: None });
        }
        Ok(Reply::Values(answer.values))
    }

    /// The answer to a change that was carried out when it was asked for before.
    pub(super) fn told_again(&mut self, outcome: Option<Outcome>, request: Request, now: u64) -> Reply {
        match outcome {
            Some(Outcome::Duplicate) => Reply::Duplicate,
            Some(Outcome::NotHeld) => Reply::Failed(Fault::not_held()),
            Some(Outcome::NoRoom) => Reply::Failed(Fault::no_room()),
            Some(Outcome::Word(word)) => Reply::Values(vec![Arc::from(word.as_bytes())]),
            None => match request {
                Request::Rsmq { call, arguments } => self.rsmq_again(&call, &arguments, now),
                _ => Reply::Done,
            },
        }
    }

    /// What a call has brought that was carried out, looked up.
    fn rsmq_again(&mut self, call: &str, arguments: &[Arc<[u8]>], now: u64) -> Reply {
        let look_up = match call {
            "send" => "sent",
            "set" => "attributes",
            _ => return Reply::Values(vec![Arc::from(&b"ok"[..])]),
        };
        let result = self.rsmq(look_up, arguments, now);
        result.unwrap_or_else(|fault| {
            self.failure.get_or_insert(fault);
            Reply::Done
        })
    }
}
