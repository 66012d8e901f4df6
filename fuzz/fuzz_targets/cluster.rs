//! The messages of the cluster protocol, in both serializations, and the answers that are made of them.

#![no_main]

use arbitrary::Arbitrary;
use corral::ids::Seq;
use corral::proto::{ClusterMessage, Serialization, ToWorker, parse, parse_connect};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Message {
    advanced: bool,
    bytes: Vec<u8>,
}

fuzz_target!(|message: Message| {
    let serialization = if message.advanced { Serialization::Advanced } else { Serialization::Json };
    let _ = parse_connect(serialization, &message.bytes);
    let Ok((ClusterMessage::QueryServer(query), seq)) = parse(serialization, &message.bytes) else { return };
    let data = query.data.as_ref();
    let reply = ToWorker::ServerReply { ack: seq, key: &query.key, errno: None, data, sockname: None };
    for serialization in [Serialization::Json, Serialization::Advanced] {
        let frame = reply.frame(serialization, Seq(1), None).expect("what was read can be written");
        let body = match serialization {
            Serialization::Json => &frame[..frame.len() - 1],
            Serialization::Advanced => &frame[4..],
        };
        parse(serialization, body).expect("what was written can be read");
    }
});
