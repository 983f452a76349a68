// SPDX-License-Identifier: MIT
//! Options of the admin API over TCP.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use l7switch_certificates::ClientName;

use crate::admin::remote::Files;

/// Where it listens, and for whom.
#[derive(Clone, Debug, Default, Args)]
pub struct AdminApi {
    /// Address of the admin API over TCP, which speaks TLS and asks each client for a certificate [default: none].
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "L7SWITCH_ADMIN_LISTEN",
        requires_all = ["admin_certificate", "admin_key", "admin_clients"]
    )]
    pub admin_listen: Option<SocketAddr>,

    /// Certificate chain (PEM) of that address.
    #[arg(
        long,
        value_name = "FILE",
        env = "L7SWITCH_ADMIN_CERTIFICATE",
        requires = "admin_listen"
    )]
    pub admin_certificate: Option<PathBuf>,

    /// Its key (PEM).
    #[arg(
        long,
        value_name = "FILE",
        env = "L7SWITCH_ADMIN_KEY",
        requires = "admin_listen"
    )]
    pub admin_key: Option<PathBuf>,

    /// Authorities (PEM) of clients: whoever has a certificate of one of them may read there.
    #[arg(
        long,
        value_name = "FILE",
        env = "L7SWITCH_ADMIN_CLIENTS",
        requires = "admin_listen"
    )]
    pub admin_clients: Option<PathBuf>,

    /// Revocation lists (PEM) of these authorities, one of each [default: none].
    #[arg(
        long,
        value_name = "FILE",
        env = "L7SWITCH_ADMIN_CRL",
        requires = "admin_listen"
    )]
    pub admin_crl: Option<PathBuf>,

    /// Names in certificates of those who may operate there, too: cn:NAME, dns:NAME, uri:URI or email:ADDRESS [default: nobody].
    #[arg(
        long,
        value_name = "NAME,...",
        env = "L7SWITCH_ADMIN_OPERATORS",
        value_delimiter = ',',
        requires = "admin_listen"
    )]
    pub admin_operators: Vec<ClientName>,
}

impl AdminApi {
    /// The address, and the files that say who may do what; `None`: the admin API is not to be had over TCP.
    pub fn wanted(&self) -> Option<(SocketAddr, Files)> {
        let files = Files {
            certificate: self.admin_certificate.clone()?,
            key: self.admin_key.clone()?,
            clients: self.admin_clients.clone()?,
            crl: self.admin_crl.clone(),
            operators: self.admin_operators.clone(),
        };
        Some((self.admin_listen?, files))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    const ALL: [&str; 4] = [
        "--admin-listen=[::1]:7443",
        "--admin-certificate=c",
        "--admin-key=k",
        "--admin-clients=a",
    ];

    fn parsed(options: &[&str]) -> Result<AdminApi, String> {
        let line = ["l7switch", "--demo"].iter().chain(options);
        let cli = Cli::try_parse_from(line).map_err(|error| error.to_string());
        cli.map(|cli| cli.admin_api)
    }

    #[test]
    fn all_is_wanted_or_nothing() {
        let (address, files) = parsed(&ALL).unwrap().wanted().unwrap();
        assert_eq!(address, "[::1]:7443".parse().unwrap());
        assert_eq!(
            [files.certificate, files.key, files.clients],
            ["c", "k", "a"].map(PathBuf::from)
        );
        assert!(files.crl.is_none() && files.operators.is_empty());
        assert!(parsed(&[]).unwrap().wanted().is_none());
        for left_out in 0..ALL.len() {
            let mut some = ALL.to_vec();
            let option = some.remove(left_out).split('=').next().unwrap();
            let error = parsed(&some).unwrap_err();
            assert!(error.contains(option), "{option}: {error}");
        }
        for alone in ["--admin-crl=r", "--admin-operators=cn:a"] {
            let error = parsed(&[alone]).unwrap_err();
            assert!(error.contains("--admin-listen"), "{error}");
        }
    }

    #[test]
    fn operators_are_named_with_their_kind() {
        let operators = |more: &[&str]| {
            let parsed = parsed(&[&ALL[..], more].concat())?;
            let (_, files) = parsed.wanted().unwrap();
            let names = files.operators.iter().map(ToString::to_string);
            Ok::<_, String>(names.collect::<Vec<_>>())
        };
        assert_eq!(
            operators(&[
                "--admin-operators",
                "cn:alice,dns:Ops.example",
                "--admin-operators=uri:spiffe://a/b"
            ]),
            Ok(vec![
                "cn:alice".into(),
                "dns:ops.example".into(),
                "uri:spiffe://a/b".into()
            ])
        );
        for wrong in ["alice", "cn:", "cn:a,", "host:a"] {
            let error = operators(&["--admin-operators", wrong]).unwrap_err();
            assert!(error.contains("cn:NAME"), "{error}");
        }
    }
}
