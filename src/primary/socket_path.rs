//! Paths of sockets, as short as they can be written.

use std::path::{Path, PathBuf};

/// The shortest form of a path from the current directory, because the name of a socket has at most 107 bytes
/// (Node: `cluster/primary.js`). An abstract name, which the worker has made absolute, becomes itself again.
pub fn shortest(path: &Path) -> PathBuf {
    let Ok(here) = std::env::current_dir() else { return path.to_owned() };
    let relative = relative_to(path, &here);
    if relative.as_os_str().len() <= path.as_os_str().len() { relative } else { path.to_owned() }
}

/// Node's `path.relative` for two absolute, normalized paths.
fn relative_to(path: &Path, base: &Path) -> PathBuf {
    let common = path.components().zip(base.components()).take_while(|(a, b)| a == b).count();
    let up = base.components().skip(common).map(|_| std::path::Component::ParentDir);
    up.chain(path.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_from_here_as_path_relative_does() {
        let relative = |path: &str, base: &str| relative_to(Path::new(path), Path::new(base));
        assert_eq!(relative("/a/b/c", "/a/b"), Path::new("c"));
        assert_eq!(relative("/a/x/c", "/a/b"), Path::new("../x/c"));
        assert_eq!(relative("/s", "/a/b/c"), Path::new("../../../s"));
        assert_eq!(relative("/a/b/\0name", "/a/b"), Path::new("\0name"));
    }
}
