// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What can go wrong with a request to the module.

use std::fmt;
use std::io;

use l7switch_engine::netlink::Command;
use thiserror::Error;

/// Why a request has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The family is not there, or is no longer the one that the client was opened with.
    #[error("the kernel module is not loaded: modprobe l7switch")]
    NotLoaded,
    /// The system has no generic netlink.
    #[error("this system has no generic netlink, so it cannot have the kernel module either: {0}")]
    NoNetlink(io::Error),
    /// The caller may not.
    #[error(
        "this needs CAP_NET_ADMIN in the user namespace that owns this network namespace: run it as root"
    )]
    NotPermitted,
    /// The module, or generic netlink before it, has refused the request.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// A system call has failed.
    #[error("netlink: {0}")]
    Socket(#[from] io::Error),
    /// The kernel has sent what is not understood.
    #[error("the kernel's message is not understood: {0}")]
    Malformed(String),
    /// A list changed under each of several readings.
    #[error("the list changed each time that it was read; try again")]
    Changing,
    /// What was asked for cannot be said to the kernel.
    #[error("{0}")]
    Input(String),
}

impl Error {
    /// Whether there is no module to ask.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::NotLoaded | Self::NoNetlink(_))
    }

    /// The kernel's error number, of a refusal (`EINVAL` is 22).
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused(refusal) => Some(refusal.errno),
            Self::NotPermitted => Some(rustix::io::Errno::PERM.raw_os_error()),
            Self::NotLoaded => Some(rustix::io::Errno::NOENT.raw_os_error()),
            Self::Socket(error) | Self::NoNetlink(error) => error.raw_os_error(),
            Self::Malformed(_) | Self::Changing | Self::Input(_) => None,
        }
    }
}

/// What the kernel says of a request that it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked.
    pub command: Command,
    /// The error's number.
    pub errno: i32,
    /// The kernel's words.
    pub message: Option<String>,
    /// The attribute that it points at.
    pub attribute: Option<BadAttribute>,
    /// Name of an attribute that is missing, with those of the nests around it.
    pub missing: Option<String>,
}

/// An attribute that the kernel points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAttribute {
    /// Where it begins in the request, bytes from the netlink header.
    pub offset: u32,
    /// Its name, with those of the nests around it; absent where there is none at that place.
    pub name: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the kernel refused {}: ", self.command.name())?;
        match &self.message {
            Some(message) => f.write_str(message)?,
            None => write!(f, "{}", io::Error::from_raw_os_error(self.errno))?,
        }
        match &self.attribute {
            Some(BadAttribute {
                name: Some(name), ..
            }) => write!(f, " (attribute `{name}`)")?,
            Some(BadAttribute { offset, .. }) => write!(f, " (byte {offset} of the request)")?,
            None => {}
        }
        if let Some(missing) = &self.missing {
            write!(f, " (attribute `{missing}` is missing)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// Bytes that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error.0)
    }
}
