//! Names that come again and again: each is kept once, and whoever has one has the same piece of memory.

use std::sync::Arc;

/// How many are remembered.
const PLACES: usize = 64;

/// The names that were read last.
#[derive(Debug)]
pub struct Names {
    places: Vec<Arc<str>>,
    empty: Arc<str>,
}

impl Default for Names {
    fn default() -> Names {
        let empty: Arc<str> = Arc::from("");
        Names { places: vec![Arc::clone(&empty); PLACES], empty }
    }
}

impl Names {
    pub fn get(&mut self, text: &str) -> Arc<str> {
        if text.is_empty() {
            return Arc::clone(&self.empty);
        }
        let hash = text.bytes().fold(text.len(), |hash, byte| hash.wrapping_mul(31) ^ usize::from(byte));
        let place = &mut self.places[hash % PLACES];
        if **place != *text {
            *place = Arc::from(text);
        }
        Arc::clone(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_the_same() {
        let mut names = Names::default();
        let one = names.get("orders");
        assert!(Arc::ptr_eq(&one, &names.get("orders")));
        assert!(Arc::ptr_eq(&names.get(""), &names.get("")));
        for number in 0..1_000 {
            let name = format!("queue-{number}");
            assert_eq!(&*names.get(&name), name);
        }
        assert_eq!((&*one, &*names.get("orders")), ("orders", "orders"));
    }
}
