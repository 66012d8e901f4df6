//! corral: the primary of a Node.js cluster, on Rust threads.
