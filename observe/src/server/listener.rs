//! The listening socket: at an address of this machine, or at a path.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream as AsyncUnixStream};

use crate::guard::Client;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 128;

/// How much the kernel may have of what a client has not read, in bytes; it has twice as much for itself.
const SEND_BUFFER: usize = 128 << 10;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Ip(SocketAddr),
    /// Nobody but this user may connect.
    Path(PathBuf),
}

/// Why it is not possible to listen: the system's error.
#[derive(Debug)]
pub struct BindError(pub io::Error);

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    file: Option<SocketFile>,
}

/// The file of a socket, removed when this is dropped, unless somebody has put another one in its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Ok(now) = fs::symlink_metadata(&self.path)
            && (now.dev(), now.ino()) == (self.device, self.inode)
        {
            // Somebody else may have been faster.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Listens from now on.
    ///
    /// Errors: those of `bind(2)` and `listen(2)`.
    pub fn bind(address: &Address) -> Result<Self, BindError> {
        match address {
            Address::Ip(address) => Self::bind_ip(*address),
            Address::Path(path) => Self::bind_path(path),
        }
        .map_err(BindError)
    }

    fn bind_ip(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Listener { socket, file: None })
    }

    fn bind_path(path: &Path) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let address = SockAddr::unix(path)?;
        if let Err(error) = socket.bind(&address) {
            if error.kind() != io::ErrorKind::AddrInUse || !is_deserted(path) {
                return Err(error);
            }
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        let made = fs::symlink_metadata(path)?;
        let file = SocketFile { path: path.to_owned(), device: made.dev(), inode: made.ino() };
        // Nobody can connect before it listens.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        Ok(Listener { socket, file: Some(file) })
    }

    /// Where it listens, with the port that the kernel has chosen.
    pub fn address(&self) -> io::Result<Address> {
        match &self.file {
            Some(file) => Ok(Address::Path(file.path.clone())),
            None => {
                let address = self.socket.local_addr()?;
                address
                    .as_socket()
                    .map(Address::Ip)
                    .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
            }
        }
    }

    /// For the thread of a runtime.
    ///
    /// Errors: those of watching a descriptor.
    pub fn listen(self) -> io::Result<Listening> {
        self.socket.set_nonblocking(true)?;
        Ok(match self.file {
            Some(file) => Listening::Unix(UnixListener::from_std(self.socket.into())?, file),
            None => Listening::Tcp(TcpListener::from_std(self.socket.into())?),
        })
    }
}

/// Whether a path is a socket at which nobody listens any more.
fn is_deserted(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refuses = || UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
    is_socket && refuses()
}

/// A socket that listens, in a runtime.
#[derive(Debug)]
pub enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Listening {
    /// The next connection, and whose it is.
    ///
    /// Errors: those of `accept(2)`.
    pub async fn accept(&self) -> io::Result<(Stream, Client)> {
        match self {
            Listening::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // It is smaller than needed for some answers, which then wait here, where they count.
                let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
                Ok((Stream::Tcp(stream), Client::Ip(IpAddr::to_canonical(&address.ip()))))
            }
            Listening::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Client::Unix))
            }
        }
    }
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(AsyncUnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, to),
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, to),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(result: Result<Listener, BindError>) -> Option<i32> {
        result.unwrap_err().0.raw_os_error()
    }

    #[test]
    fn a_port_that_is_taken_is_an_error() {
        let one = Listener::bind(&Address::Ip("127.0.0.1:0".parse().unwrap())).unwrap();
        let address = one.address().unwrap();
        assert_eq!(errno(Listener::bind(&address)), Some(98), "EADDRINUSE");
    }

    #[test]
    fn the_file_of_a_socket_is_this_users_alone_and_goes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let address = Address::Path(path.clone());
        let listener = Listener::bind(&address).unwrap();
        assert_eq!(listener.address().unwrap(), address);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(errno(Listener::bind(&address)), Some(98), "EADDRINUSE");
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_process_has_left_is_replaced_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::bind(&Address::Path(path.clone())).unwrap();
        // Somebody else has taken the place.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(listener);
        assert_eq!(errno(Listener::bind(&Address::Path(path.clone()))), Some(98), "EADDRINUSE");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
