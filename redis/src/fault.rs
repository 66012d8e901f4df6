//! What goes wrong between this process and the server, with the code that JavaScript gives it.

use corral_bus::error::Fault;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// What an error of the server means for who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The connection, or the server's readiness, is lost: the same is asked again when it is back.
    Away,
    /// It makes no sense to try again.
    Hopeless,
    /// What was asked for is refused, and nothing was changed.
    Refused,
}

/// What the server says while it cannot serve, and will be able to.
const AWAY: [&str; 8] =
    ["LOADING", "BUSY", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "UNBLOCKED", "NOREPLICAS"];

/// How servers say in a script that a user may not do something, without their code: Redis 7, and Redis 8 and Valkey.
const IN_SCRIPT: [&str; 2] = ["The user executing the script can't", "ACL failure in script"];

pub fn verdict(error: &RedisError) -> Verdict {
    match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => Verdict::Hopeless,
        ErrorKind::Server(ServerErrorKind::NoPerm) => Verdict::Refused,
        ErrorKind::Server(_) | ErrorKind::Extension => match error.code() {
            Some("NOAUTH" | "WRONGPASS") => Verdict::Hopeless,
            Some(code) if AWAY.contains(&code) => Verdict::Away,
            _ => Verdict::Refused,
        },
        _ => Verdict::Away,
    }
}

/// The fault of a request that the server refuses. `text` begins with the server's own code.
pub fn refused(text: &str) -> Fault {
    let has = |code: &str| text.split(|c: char| !c.is_ascii_alphabetic()).any(|word| word == code);
    let code = if has("WRONGTYPE") {
        "ERR_CORRAL_BUS_WRONG_TYPE"
    } else if ["NOPERM", "NOAUTH", "WRONGPASS"].into_iter().any(has)
        || IN_SCRIPT.iter().any(|said| text.contains(said))
    {
        "ERR_CORRAL_BUS_DENIED"
    } else {
        "ERR_CORRAL_BUS_STORE"
    };
    Fault { code, message: format!("Nothing was changed: the server says {text}") }
}

pub fn of(error: &RedisError) -> Fault {
    match verdict(error) {
        Verdict::Refused => refused(&error.to_string()),
        Verdict::Away => unavailable(error.to_string()),
        Verdict::Hopeless if error.kind() == ErrorKind::InvalidClientConfig => {
            Fault { code: "ERR_INVALID_ARG_VALUE", message: format!("The URL cannot be used: {error}") }
        }
        Verdict::Hopeless => Fault {
            code: "ERR_CORRAL_BUS_DENIED",
            message: format!("The server does not let this user in: {error}"),
        },
    }
}

/// A transaction on a cluster with a list, which is in a slot of its own.
pub fn across() -> Fault {
    Fault {
        code: "ERR_CORRAL_BUS_CROSS_SLOT",
        message:
            "Nothing was changed: in a cluster a list is not in the slot of the queues, unless its name has \
                  the prefix in braces"
                .to_owned(),
    }
}

pub fn unavailable(message: impl Into<String>) -> Fault {
    Fault { code: "ERR_CORRAL_BUS_UNAVAILABLE", message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_server_are_found_wherever_its_versions_put_them() {
        assert_eq!(refused("WRONGTYPE Operation against a key").code, "ERR_CORRAL_BUS_WRONG_TYPE");
        assert_eq!(refused("user_script:7: -NOPERM this user").code, "ERR_CORRAL_BUS_DENIED");
        assert_eq!(refused("ERR ACL failure in script: User u has").code, "ERR_CORRAL_BUS_DENIED");
        assert_eq!(refused("OOM command not allowed").code, "ERR_CORRAL_BUS_STORE");
    }

    #[test]
    fn a_server_that_is_not_ready_is_asked_again() {
        let said = |code: &str| verdict(&redis::make_extension_error(code.to_owned(), None));
        assert_eq!(said("LOADING"), Verdict::Away);
        assert_eq!(said("OOM"), Verdict::Refused);
        assert_eq!(said("WRONGPASS"), Verdict::Hopeless);
        assert_eq!(verdict(&std::io::Error::other("reset").into()), Verdict::Away);
    }
}
