//! Where the server is, and what keys begin with.

/// What a URL says.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// One server; of a cluster or of sentinels those that are asked first.
    pub urls: Vec<String>,
    pub is_cluster: bool,
    /// The name that the sentinels know it by.
    pub sentinel: Option<String>,
    pub prefix: String,
    /// PEM: who signs the server's certificate, if the system does not know.
    pub ca: Option<Vec<u8>>,
    /// PEM: this client's certificate and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Settings {
    /// What the keys of queues begin with. The braces have a cluster keep all of them in one slot: a script sees no other.
    pub fn base(&self) -> String {
        format!("{{{}}}:", self.prefix)
    }

    /// Whether a list is in the slot of the queues.
    pub fn is_beside_queues(&self, list: &str) -> bool {
        hash_tag(list) == self.prefix
    }

    /// The channel on which a session is woken.
    pub fn channel(&self, session: &str) -> String {
        format!("{}session:{session}", self.base())
    }

    /// The key beside a list that has what was taken and is not acknowledged yet. It is in the list's slot.
    pub fn beside(&self, list: &str) -> String {
        format!("{}:list:{{{}}}", self.prefix, hash_tag(list))
    }
}

/// What decides on a key's slot: what is between its first braces, if that is anything, or the key.
fn hash_tag(key: &str) -> &str {
    let inside = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    inside.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_list_is_in_its_slot() {
        assert_eq!(hash_tag("plain"), "plain");
        assert_eq!(hash_tag("a{b}c{d}"), "b");
        assert_eq!(hash_tag("a{}b"), "a{}b");
        let settings = Settings { prefix: "corral".into(), ..Settings::default() };
        assert_eq!(settings.beside("jobs:{7}"), "corral:list:{7}");
        assert_eq!(settings.base(), "{corral}:");
    }
}
