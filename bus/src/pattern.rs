//! Patterns of topics, as Redis has them: `*`, `?`, `[ab]`, `[^a-z]`, and a backslash.

/// Whether a pattern is more than a name.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Whether a topic is one that a pattern means. The time that it takes is bounded by the product of their lengths.
pub fn matches(pattern: &str, topic: &str) -> bool {
    let (pattern, topic) = (pattern.as_bytes(), topic.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and what it has taken: another character is all that can be tried again.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
            continue;
        }
        if t == topic.len() {
            return p == pattern.len();
        }
        let step = if p < pattern.len() { one(&pattern[p..], topic, t) } else { None };
        if let Some((in_pattern, in_topic)) = step {
            p += in_pattern;
            t += in_topic;
            continue;
        }
        let Some((at, taken)) = star else { return false };
        star = Some((at, taken + 1));
        (p, t) = (at + 1, taken + 1);
        if t > topic.len() {
            return false;
        }
    }
}

/// How many bytes of a pattern stand for how many of a topic, of one character: none if that is another one.
fn one(pattern: &[u8], topic: &[u8], at: usize) -> Option<(usize, usize)> {
    let byte = topic[at];
    match pattern[0] {
        // A character, and not a byte of one.
        b'?' => Some((1, character(topic, at))),
        b'[' => {
            let (length, is_in) = class(pattern, topic, at);
            is_in.then(|| (length, character(topic, at)))
        }
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some((2, 1)),
        plain => (plain == byte).then_some((1, 1)),
    }
}

/// How many bytes the character has that begins at `at`.
fn character(topic: &[u8], at: usize) -> usize {
    let more = topic[at + 1..].iter().take_while(|&&byte| byte & 0xc0 == 0x80).count();
    1 + more
}

/// The code of the character at `at`, as the bytes that it has.
fn code(text: &[u8], at: usize) -> (u32, usize) {
    let length = character(text, at);
    (text[at..at + length].iter().fold(0, |code, &byte| code << 8 | u32::from(byte)), length)
}

/// How long the class is that a pattern begins with, and whether the character at `at` is in it. One that is not closed
/// goes to the end.
fn class(pattern: &[u8], topic: &[u8], at: usize) -> (usize, bool) {
    let (wanted, _) = code(topic, at);
    let mut p = 1;
    let is_negated = pattern.get(p) == Some(&b'^');
    if is_negated {
        p += 1;
    }
    let mut is_in = false;
    while p < pattern.len() && pattern[p] != b']' {
        if pattern[p] == b'\\' && p + 1 < pattern.len() {
            p += 1;
        }
        let (mut first, length) = code(pattern, p);
        p += length;
        let mut last = first;
        if pattern.get(p) == Some(&b'-') && p + 1 < pattern.len() && pattern[p + 1] != b']' {
            p += 1;
            if pattern[p] == b'\\' && p + 1 < pattern.len() {
                p += 1;
            }
            let (end, length) = code(pattern, p);
            last = end;
            p += length;
            if first > last {
                (first, last) = (last, first);
            }
        }
        is_in |= (first..=last).contains(&wanted);
    }
    ((p + 1).min(pattern.len()), is_in != is_negated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_redis() {
        let cases = [
            ("a", "a", true),
            ("a", "b", false),
            ("", "", true),
            ("*", "", true),
            ("**", "abc", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbcd", false),
            ("a*b*c", "axxbxbyyc", true),
            ("*a", "aaaa", true),
            ("?", "", false),
            ("?", "ä", true),
            ("??", "ä", false),
            ("a?c", "abc", true),
            ("[abc]", "b", true),
            ("[^abc]", "b", false),
            ("[^abc]", "d", true),
            ("[a-c]", "b", true),
            ("[c-a]", "b", true),
            ("[ä-ü]", "ö", true),
            ("[ä-ü]", "a", false),
            ("[a", "a", true),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("*ä", "xä", true),
            ("news.*.de", "news.art.de", true),
        ];
        for (pattern, topic, expected) in cases {
            assert_eq!(matches(pattern, topic), expected, "{pattern} {topic}");
        }
    }

    #[test]
    fn many_stars_take_no_time_without_end() {
        let pattern = "a*".repeat(60) + "b";
        assert!(!matches(&pattern, &"a".repeat(255)));
    }
}
