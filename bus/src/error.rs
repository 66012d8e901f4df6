//! What goes wrong, with the code that JavaScript gives it.

use std::fmt;

/// Why a request, or a connection, failed. `code` is what the program's error has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: &'static str,
    pub message: String,
}

impl Fault {
    /// A message that is acknowledged, given back or extended is not held by this consumer, or not any more.
    pub fn not_held() -> Fault {
        Fault {
            code: "ERR_CORRAL_BUS_NOT_HELD",
            message: "The message is not held any more: it was held for too long, or its queue was deleted"
                .to_owned(),
        }
    }

    /// The store cannot write or read: the disk is full, or broken.
    pub fn store(cause: impl fmt::Display) -> Fault {
        Fault { code: "ERR_CORRAL_BUS_STORE", message: format!("Nothing was changed: {cause}") }
    }

    /// What is left of the disk is for what makes room.
    pub fn no_room() -> Fault {
        Fault::store("the disk is full but for what acknowledgements need")
    }

    /// The file is not a store that this version can use.
    pub fn format(message: impl Into<String>) -> Fault {
        Fault { code: "ERR_CORRAL_BUS_FORMAT", message: message.into() }
    }

    /// The peer has sent what is no request.
    pub fn protocol(message: impl Into<String>) -> Fault {
        Fault { code: "ERR_CORRAL_BUS_PROTOCOL", message: message.into() }
    }

    /// The subscriber was slow, and its subscription asked to be ended then.
    pub fn slow(waiting: usize) -> Fault {
        Fault {
            code: "ERR_CORRAL_BUS_SLOW",
            message: format!("The subscriber was slow: {waiting} messages waited for it, and one more came"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}
