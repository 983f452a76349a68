// SPDX-License-Identifier: MIT
//! The admin socket, a Unix socket.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;
use tokio::net::UnixStream;

use super::caller::Caller;
use super::caller::Way;
use super::serve;
use crate::accept::listen;
use crate::control;
use crate::switch::Switch;

/// The admin socket. Dropped, it is removed, unless another process has it.
#[derive(Debug)]
pub struct Admin {
    path: PathBuf,
    file: Arc<Mutex<File>>,
    switch: Arc<Switch>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
        // Another switch's file stays.
        let known = *self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if self.switch.place().given_to().is_none() && file(&self.path) == known {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Admin {
    /// Opens the socket, readable and writable for its owner only. One that a dead switch has left
    /// is replaced.
    ///
    /// # Errors
    ///
    /// A living switch has it, or the file system says no.
    pub async fn start(switch: Arc<Switch>, path: &Path) -> io::Result<Self> {
        Self::start_for(switch, path, None).await
    }

    /// The same, for a group, too, whose members may read.
    ///
    /// # Errors
    ///
    /// A living switch has it, or the file system says no: also where this user may not give a file to the group.
    pub async fn start_for(
        switch: Arc<Switch>,
        path: &Path,
        readers: Option<u32>,
    ) -> io::Result<Self> {
        let socket = open(path, readers).await?;
        Ok(Self::over(switch, path, readers, socket))
    }

    /// Goes on with the socket of another process, which is at this path.
    ///
    /// # Errors
    ///
    /// This user may not give the file to the group of readers.
    pub fn start_with(
        switch: Arc<Switch>,
        path: &Path,
        readers: Option<u32>,
        socket: UnixListener,
    ) -> io::Result<Self> {
        // A file that somebody has deleted needs no permission.
        match permit(path, readers) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Self::over(switch, path, readers, socket)),
        }
    }

    fn over(switch: Arc<Switch>, path: &Path, readers: Option<u32>, socket: UnixListener) -> Self {
        let known = Arc::new(Mutex::new(file(path)));
        let place = Place {
            path: path.to_owned(),
            readers,
            file: Arc::clone(&known),
            is_lost: false,
        };
        let task = tokio::spawn(accept(Arc::clone(&switch), place, Arc::new(socket)));
        Self {
            path: path.to_owned(),
            file: known,
            switch,
            task,
        }
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens a socket at a path, in the place of one that a dead switch has left.
async fn open(path: &Path, readers: Option<u32>) -> io::Result<UnixListener> {
    if UnixStream::connect(path).await.is_ok() {
        let why = "another switch uses it";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    }
    // Bound under another name until its mode is right.
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let hidden = PathBuf::from(hidden);
    let _ = std::fs::remove_file(&hidden);
    let socket = UnixListener::bind(&hidden)?;
    let placed = permit(&hidden, readers).and_then(|()| std::fs::rename(&hidden, path));
    if let Err(error) = placed {
        let _ = std::fs::remove_file(&hidden);
        return Err(error);
    }
    Ok(socket)
}

/// How often it is looked whether the socket's file is there.
const LOOKS: Duration = Duration::from_secs(1);

/// What a file is known by: its device and number. `None`: it is not there.
type File = Option<(u64, u64)>;

fn file(path: &Path) -> File {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Where the socket is to be found.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    readers: Option<u32>,
    /// The socket's file.
    file: Arc<Mutex<File>>,
    /// Whether it was said that it is there no more.
    is_lost: bool,
}

impl Place {
    fn file(&self) -> File {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn know(&self, file: File) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }

    /// Another socket, where the file is there no more by which clients find this one.
    async fn look(&mut self) -> Option<UnixListener> {
        let known = self.file();
        if known.is_some() && file(&self.path) == known {
            return None;
        }
        let path = self.path.display();
        if !std::mem::replace(&mut self.is_lost, true) {
            tracing::warn!("the admin socket {path} is gone, or another file is there");
        }
        // Where that is not possible now, or another switch has the place, it is tried again.
        let socket = open(&self.path, self.readers).await.ok()?;
        tracing::info!("the admin socket {path} is opened again");
        self.know(file(&self.path));
        self.is_lost = false;
        Some(socket)
    }
}

/// Who may open the socket: its owner, and a group.
fn permit(path: &Path, readers: Option<u32>) -> io::Result<()> {
    let mode = match readers {
        None => 0o600,
        Some(group) => {
            std::os::unix::fs::chown(path, None, Some(group))?;
            0o660
        }
    };
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

async fn accept(switch: Arc<Switch>, mut place: Place, mut socket: Arc<UnixListener>) {
    let mut given = pin!(switch.place().given());
    let mut looks = tokio::time::interval(LOOKS);
    loop {
        let accepted = tokio::select! {
            biased;
            // What waits in the kernel is the successor's.
            _ = &mut given => return,
            accepted = socket.accept() => accepted,
            _ = looks.tick() => {
                // Who takes the place has the socket already, and looks itself.
                if switch.place().is_asked() {
                    continue;
                }
                if let Some(another) = place.look().await {
                    socket = Arc::new(another);
                }
                continue;
            }
        };
        match accepted {
            Ok((stream, _)) => {
                let way = Way::Socket {
                    socket: Arc::clone(&socket),
                    readers: place.readers,
                    peer: stream.peer_cred().ok(),
                };
                let caller = Caller {
                    switch: Arc::clone(&switch),
                    way,
                };
                let (switch, busy) = (Arc::clone(&switch), switch.core().shutdown.busy());
                tokio::spawn(async move {
                    let handler = service_fn(move |request| serve(caller.clone(), request));
                    let connection = control::http1()
                        .serve_connection(TokioIo::new(stream), handler)
                        .with_upgrades();
                    let result = control::finish(
                        &switch,
                        connection,
                        http1::UpgradeableConnection::graceful_shutdown,
                    )
                    .await;
                    drop(busy);
                    if let Err(error) = result {
                        tracing::debug!(%error, "admin connection");
                    }
                });
            }
            Err(error) => listen::rest(&error).await,
        }
    }
}
