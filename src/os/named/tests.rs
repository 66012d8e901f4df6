use std::fs::File;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Gid;

use super::*;

fn listen_at(path: &Path) -> Result<Bound, Error> {
    listen_named(path, AbstractNames::Exact, false, false, 5)
}

fn errno(result: Result<Bound, Error>) -> Errno {
    match result {
        Err(Error::Sys { errno, .. }) => errno,
        other => panic!("{other:?}"),
    }
}

fn private_directory() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn make_private(path: &Path) {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).unwrap();
}

#[test]
fn the_file_is_its_owners_alone_unless_widened() {
    let directory = private_directory();
    for (readable, writable, mode) in
        [(false, false, 0o600), (true, false, 0o644), (false, true, 0o622), (true, true, 0o666)]
    {
        let path = directory.path().join("s");
        let bound = listen_named(&path, AbstractNames::Exact, readable, writable, 5).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, mode);
        connect_named(&path, AbstractNames::Exact).unwrap();
        drop(bound);
        assert!(!path.exists());
    }
}

#[test]
fn a_stale_socket_is_replaced() {
    let directory = private_directory();
    let path = directory.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let _bound = listen_at(&path).unwrap();
    connect_named(&path, AbstractNames::Exact).unwrap();
}

#[test]
fn of_many_that_find_a_stale_socket_one_gets_its_place() {
    let directory = private_directory();
    let path = directory.path().join("s");
    for _ in 0..20 {
        drop(UnixListener::bind(&path).unwrap());
        let path = &path;
        let bound: Vec<Bound> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(move || {
                        loop {
                            match listen_at(path) {
                                Err(Error::Sys { errno: Errno::EAGAIN, .. }) => std::thread::yield_now(),
                                Err(error) => {
                                    assert_eq!(error.code(), "EADDRINUSE");
                                    return None;
                                }
                                Ok(bound) => return Some(bound),
                            }
                        }
                    })
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(bound.len(), 1);
        connect_named(path, AbstractNames::Exact).unwrap();
    }
}

#[test]
fn who_begins_while_another_ends_keeps_its_file() {
    let directory = private_directory();
    let path = &directory.path().join("s");
    let listened: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    let mut listened = 0;
                    for _ in 0..500 {
                        let Ok(bound) = listen_at(path) else { continue };
                        listened += 1;
                        // The other processes probe whether anybody listens, and may have filled the backlog.
                        match connect_named(path, AbstractNames::Exact) {
                            Ok(_) | Err(Error::Sys { errno: Errno::EAGAIN, .. }) => {}
                            Err(error) => panic!("its file has gone: {error}"),
                        }
                        drop(bound);
                    }
                    listened
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(listened > 0);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn what_somebody_listens_at_and_what_is_no_socket_stay() {
    let directory = private_directory();
    let live = directory.path().join("live");
    let _listener = UnixListener::bind(&live).unwrap();
    assert_eq!(errno(listen_at(&live)), Errno::EADDRINUSE);
    UnixStream::connect(&live).unwrap();

    let datagrams = directory.path().join("datagrams");
    let _receiver = UnixDatagram::bind(&datagrams).unwrap();
    assert_eq!(errno(listen_at(&datagrams)), Errno::EADDRINUSE);
    assert!(datagrams.exists());

    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert_eq!(errno(listen_at(&file)), Errno::EADDRINUSE);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");

    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert_eq!(errno(listen_at(&link)), Errno::EADDRINUSE);
    assert!(link.is_symlink());
}

#[test]
fn a_server_whose_file_was_replaced_leaves_the_new_one() {
    let directory = private_directory();
    let path = directory.path().join("s");
    let first = listen_at(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _second = listen_at(&path).unwrap();
    drop(first);
    connect_named(&path, AbstractNames::Exact).unwrap();
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let directory = private_directory();
    let path = directory.path().join("shared/below/s");
    make_private(path.parent().unwrap());
    let shared = directory.path().join("shared");
    for (mode, is_safe) in [(0o777, false), (0o757, false), (0o1777, true), (0o755, true)] {
        std::fs::set_permissions(&shared, Permissions::from_mode(mode)).unwrap();
        match listen_at(&path) {
            Ok(_) => assert!(is_safe, "{mode:o}"),
            Err(error) => {
                assert_eq!(error.code(), "ERR_CORRAL_UNSAFE_DIRECTORY", "{mode:o}: {error}");
                assert!(!is_safe, "{mode:o}");
            }
        }
    }
    assert_eq!(errno(listen_at(Path::new("/no/such/directory/s"))), Errno::EACCES);
    assert_eq!(errno(listen_at(&directory.path().join("x".repeat(200)))), Errno::EINVAL);
}

#[test]
fn who_locks_a_directory_keeps_nobody_from_listening_in_it() {
    let directory = private_directory();
    let path = directory.path().join("s");
    // Read access is enough to lock it.
    let opened = File::open(directory.path()).unwrap();
    let _lock = Flock::lock(opened, FlockArg::LockExclusiveNonblock).unwrap();
    listen_at(&path).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    listen_at(&path).unwrap();
}

#[test]
fn a_name_that_somebody_just_begins_to_listen_at_is_tried_again_later() {
    let directory = private_directory();
    let path = directory.path().join("s");
    let lock = NameLock::take(&path).unwrap();
    assert_eq!(errno(listen_at(&path)), Errno::EAGAIN);
    listen_at(&directory.path().join("other")).unwrap();
    drop(lock);
    listen_at(&path).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_link_in_a_directory_that_others_can_write_is_not_followed() {
    let directory = private_directory();
    let safe = directory.path().join("safe");
    let shared = directory.path().join("shared");
    make_private(&safe);
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::symlink(&safe, shared.join("link")).unwrap();
    let error = listen_at(&shared.join("link/s")).unwrap_err();
    assert_eq!(error.code(), "ERR_CORRAL_UNSAFE_DIRECTORY");
    assert_eq!(std::fs::read_dir(&safe).unwrap().count(), 0);
}

#[test]
fn a_directory_too_long_for_an_address_is_reached_by_a_link() {
    let directory = private_directory();
    let long = directory.path().join("x".repeat(200));
    make_private(&long);
    assert_eq!(errno(listen_at(&long.join("s"))), Errno::EINVAL);
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&long, &link).unwrap();
    let path = link.join("s");
    drop(UnixListener::bind(&path).unwrap());
    let bound = listen_at(&path).unwrap();
    connect_named(&path, AbstractNames::Exact).unwrap();
    assert_eq!(errno(listen_at(&path)), Errno::EADDRINUSE);
    drop(bound);
    assert_eq!(std::fs::read_dir(&long).unwrap().count(), 0);
}

#[test]
fn a_name_for_a_directory_is_no_name_for_a_socket() {
    let directory = private_directory();
    for name in ["s/", "s/.", "..", "s/.."] {
        assert_eq!(errno(listen_at(&directory.path().join(name))), Errno::EACCES, "{name}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn both_ends_know_who_the_other_is() {
    let directory = private_directory();
    let path = directory.path().join("s");
    let bound = listen_at(&path).unwrap();
    let client = connect_named(&path, AbstractNames::Exact).unwrap();
    let accepted = crate::os::accept(bound.socket.as_fd()).unwrap().connection;
    let me = Credentials {
        pid: std::process::id() as i32,
        uid: Uid::effective().as_raw(),
        gid: Gid::effective().as_raw(),
    };
    assert_eq!(credentials(client.as_fd()).unwrap(), me);
    assert_eq!(credentials(accepted.as_fd()).unwrap(), me);
    assert!(me.is_trusted());
    assert!(!Credentials { uid: 4321, ..me }.is_trusted());
}

#[test]
fn a_line_is_taken_and_nothing_behind_it() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let line = || receive_line(theirs.as_fd(), 10).unwrap();
    assert_eq!(line(), Line::Partial(b"".into()));
    ours.write_all(b"hel").unwrap();
    assert_eq!(line(), Line::Partial(b"hel".into()));
    ours.write_all(b"lo\n\nrest").unwrap();
    assert_eq!(line(), Line::Complete(b"hello".into()));
    assert_eq!(line(), Line::Complete(b"".into()));
    assert_eq!(line(), Line::Partial(b"rest".into()));
    ours.write_all(b" without end").unwrap();
    assert_eq!(line(), Line::Overlong(b"rest withou".into()));
    drop(ours);
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);
    assert_eq!(receive_line(theirs.as_fd(), 10).unwrap(), Line::Ended);
}
